"""`ppd evaluate`: does each person prefer what is drawn for them? Win rates against the base, with their counts."""

from __future__ import annotations

import json
import logging
import time
from dataclasses import asdict
from pathlib import Path
from typing import Any

from ppd_lightning.commands.win_rate_table import print_win_rates
from ppd_lightning.config.root import Config
from ppd_lightning.config.workspace import Workspace
from ppd_lightning.evaluation.comparisons.images import draw_comparisons
from ppd_lightning.evaluation.comparisons.profiles import augmented, count_overruns, read_profiles
from ppd_lightning.evaluation.comparisons.selection import comparisons_of, evaluated_captions
from ppd_lightning.evaluation.comparisons.table import ComparisonsTable
from ppd_lightning.evaluation.scores.scorers import Scorers
from ppd_lightning.evaluation.summary import summarise
from ppd_lightning.generation.gallery import base_gallery, own_gallery
from ppd_lightning.storage.atomic import write_json_atomic
from ppd_lightning.storage.fingerprints import file_sha256, fingerprint
from ppd_lightning.training.hparams import log_win_rates

log = logging.getLogger(__name__)


def run(config: Config) -> dict[str, Any]:
    """Measure, as `measure` does, and print the win rates."""
    summary = measure(config)
    print_win_rates(summary)
    return summary


def measure(config: Config) -> dict[str, Any]:
    """Draw and score the comparisons of `evaluation`; what was drawn or scored before, by any run, is not done again.

    Leaves in the run's folder `evaluation-{key}` with comparisons.parquet, a row a comparison, and summary.json.

    Returns:
        the summary: a win rate for each group of people by what decides for them (`Scorers`), and by the others;
        mean_own_score, their mean; mean_scores, the mean of every reward; lowest, the people who gain least; profiles,
        the same of the baseline of `evaluation.profiles`. Of simulated people also how often the content is still
        recognised, the oracle's win rate, and rates by how many pairs people have and by how consistent their choices
        are (long_tail).

    Raises:
        UserError: the training is not finished, a reward or a file is missing, or nothing says what people like.
    """
    begun, workspace, settings = time.monotonic(), Workspace(config), config.evaluation
    scorers = _scorers(workspace)
    trained, captions = workspace.trained_run(), evaluated_captions(settings.captions, workspace.data)
    profiles = None if settings.profiles is None else read_profiles(Path(settings.profiles))
    key = {
        "base": base_gallery(trained).folder.name,
        "own": own_gallery(trained).folder.name,
        "evaluation": settings,
        "captions": fingerprint(captions),
        "profiles": profiles,
        "rewards": scorers.fingerprints,
    }
    folder = trained.folder / f"evaluation-{fingerprint(key)}"
    if (folder / "summary.json").exists():
        log.info("%s is finished; delete it to evaluate again", folder)
        finished: dict[str, Any] = json.loads((folder / "summary.json").read_text())
        return finished | {"folder": str(folder)}
    comparisons = comparisons_of(trained.users, captions, settings.comparisons, settings.seeds)
    prompts = None if profiles is None else augmented(comparisons, profiles)
    overruns = None if prompts is None else count_overruns(trained.backbone, [*prompts.values()])
    images = draw_comparisons(trained, comparisons, prompts)
    between = time.monotonic()
    scores = {kind: scorers.score(of_kind.comparisons, of_kind.files) for kind, of_kind in images.items()}
    summary = {"folder": str(folder)} | summarise(
        scorers,
        images,
        scores,
        data=workspace.data,
        users=trained.users,
        method=config.objective.name,
        tie=settings.tie,
        bootstrap=settings.bootstrap,
    )
    if overruns is not None:
        summary["profiles"]["overruns"] = overruns
    summary["seconds"] = {"drawing": round(between - begun, 1), "judging": round(time.monotonic() - between, 1)}
    table = ComparisonsTable(comparisons, workspace.output)
    for kind, of_kind in images.items():
        table.add(kind, of_kind.files, scores[kind], of_kind.rows)
    table.write(folder / "comparisons.parquet")
    metadata = {"adapter": file_sha256(trained.adapter), "measures": scorers.names}
    groups = {"generation": asdict(config.generation), "evaluation": asdict(settings)}
    write_json_atomic(folder / "settings.json", metadata | groups)
    write_json_atomic(folder / "summary.json", summary)
    if config.logger.tensorboard:
        log_win_rates(trained.folder, summary["win_rate"], config.trainer.max_steps)
    return summary


def _scorers(workspace: Workspace) -> Scorers:
    """The rewards that are users, those that only score, and the judges of simulated people."""
    settings, users = workspace.config.evaluation, list(workspace.rewards_that_label)
    return Scorers(
        workspace.open_rewards(dict.fromkeys([*users, *settings.rewards])),
        synthetic_users=users,
        simulation=workspace.simulation,
        judges=settings.judges,
        progress=workspace.progress,
    )
