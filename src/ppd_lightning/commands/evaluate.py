"""`ppd evaluate`: does each person prefer what is drawn for them? Win rates against the base, with their counts."""

from __future__ import annotations

import logging
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from ppd_lightning.backbones.caption_length import count_overruns
from ppd_lightning.backbones.known_captions import remark_on_captions
from ppd_lightning.commands.preferences import held_out_preferences
from ppd_lightning.commands.win_rate_table import print_win_rates
from ppd_lightning.config.root import Config
from ppd_lightning.config.stored import stored_values
from ppd_lightning.config.workspace import Workspace
from ppd_lightning.evaluation.comparisons.images import OWN, draw_comparisons
from ppd_lightning.evaluation.comparisons.others import OTHER, draw_others
from ppd_lightning.evaluation.comparisons.profiles import KEY as PROFILES
from ppd_lightning.evaluation.comparisons.profiles import augmented, read_profiles
from ppd_lightning.evaluation.comparisons.selection import OF_DATA, comparisons_of, evaluated_captions, require_known
from ppd_lightning.evaluation.comparisons.table import ComparisonsTable
from ppd_lightning.evaluation.preference_accuracy import preference_accuracy
from ppd_lightning.evaluation.scores.own_against_other import score_others
from ppd_lightning.evaluation.scores.scorers import Scorers
from ppd_lightning.evaluation.summary import summarise
from ppd_lightning.generation.drawn_files import png_fault
from ppd_lightning.generation.gallery import base_gallery, own_gallery
from ppd_lightning.generation.trained_run import TrainedRun
from ppd_lightning.storage.atomic import write_json_atomic
from ppd_lightning.storage.checksums import known_sha256
from ppd_lightning.storage.fingerprints import fingerprint
from ppd_lightning.storage.result_folder import finish_folder, finished_summary
from ppd_lightning.training.hparams import log_rates

TABLE = "comparisons.parquet"

log = logging.getLogger(__name__)


def run(config: Config) -> dict[str, Any]:
    """Measure, as `measure` does, and print the win rates."""
    summary = measure(config)
    print_win_rates(summary)
    return summary


def measure(config: Config) -> dict[str, Any]:
    """Draw and score the comparisons of `evaluation`; what was drawn or scored before, by any run, is not done again.

    Leaves in the run's folder `evaluation-{key}` with comparisons.parquet, a row a comparison, and summary.json. Where
    nothing says what people like, nothing is drawn, and the summary holds the preference accuracy alone. Who is in a
    file of `generation.people` is drawn for by the vector there, and measured as always.

    Returns:
        the summary: a win rate for each group of people by what decides for them (`Scorers`), and by the others;
        mean_own_score, their mean; mean_scores, the mean of every reward; lowest, the people who gain least; profiles,
        the same of the baseline of `evaluation.profiles`; other_taste_win_rate and own_against_other, whether it is
        personal (`OwnAgainstOther`); preference_accuracy, on held-out pairs. Of simulated people also how often the
        content is still recognised and how well images show it (content), the oracle's win rate, the share of it
        that is reached (share_of_possible), and rates by how many pairs people have and by how consistent their choices
        are (long_tail).

    Raises:
        UserError: the training is not finished, a reward or a file is missing, there is nothing to measure, or
            somebody of `generation.people` is not in the data.
    """
    workspace, settings = Workspace(config), config.evaluation
    scorers = _scorers(workspace)
    trained, captions = workspace.trained_run(), evaluated_captions(settings.captions, workspace.data)
    require_known(trained.users, trained.described)
    profiles = None if settings.profiles is None else read_profiles(Path(settings.profiles))
    preferences = held_out_preferences(workspace, trained)
    key = {
        "base": base_gallery(trained).folder.name,
        "own": own_gallery(trained).folder.name,
        "evaluation": settings,
        "captions": fingerprint(captions),
        "profiles": profiles,
        "rewards": {} if scorers is None else scorers.fingerprints,
        "preferences": None if preferences is None else preferences.key(),
        **trained.described_key,
    }
    folder = trained.folder / f"evaluation-{fingerprint(key)}"
    if (finished := finished_summary(folder)) is not None and not _has_damaged_images(folder, workspace.output):
        log.info("%s is finished; delete it to evaluate again", folder)
        return finished | {"folder": str(folder)}
    if settings.captions not in OF_DATA:
        remark_on_captions(trained.backbone, captions, "evaluation.captions")
    summary: dict[str, Any] = {"folder": str(folder)}
    if scorers is not None:
        summary |= _compare(workspace, trained, scorers, captions, profiles, folder)
    if preferences is not None:
        begun = time.monotonic()
        summary["preference_accuracy"] = preference_accuracy(
            preferences.table(), settings.bootstrap, by_captions=workspace.data.by_rewards
        )
        summary.setdefault("seconds", {})["preferring"] = round(time.monotonic() - begun, 1)
    metadata = {"adapter": known_sha256(trained.adapter), "measures": [] if scorers is None else scorers.names}
    groups = {group: stored_values(config)[group] for group in ("generation", "evaluation")}
    write_json_atomic(folder / "settings.json", metadata | groups)
    finish_folder(folder, summary, ["settings.json", TABLE])
    if config.logger.tensorboard and "win_rate" in summary:
        log_rates(trained.folder, "win_rate", summary["win_rate"], config.trainer.max_steps)
    return summary


def _compare(
    workspace: Workspace,
    trained: TrainedRun,
    scorers: Scorers,
    captions: Sequence[str],
    texts: dict[str, str] | None,
    folder: Path,
) -> dict[str, Any]:
    """Draw and score the comparisons and write their table; what follows from the scores."""
    begun, settings = time.monotonic(), workspace.config.evaluation
    comparisons = comparisons_of(trained.users, captions, settings.comparisons, settings.seeds)
    prompts = None if texts is None else augmented(comparisons, texts)
    overruns = None if prompts is None else count_overruns(trained.backbone, prompts.values(), PROFILES)
    images = draw_comparisons(trained, comparisons, prompts)
    others = None
    if settings.others is not None and scorers.personal:
        others = draw_others(trained, images[OWN], trained.users.served()[0], settings.others)
    between = time.monotonic()
    scores = {kind: scorers.score(of_kind.comparisons, of_kind.files) for kind, of_kind in images.items()}
    personal = None if others is None else score_others(scorers, images, scores, others)
    summary = summarise(
        scorers,
        images,
        scores,
        data=workspace.data,
        users=trained.users,
        method=workspace.config.objective.name,
        tie=settings.tie,
        bootstrap=settings.bootstrap,
        personal=personal,
    )
    if overruns is not None:
        summary["profiles"]["overruns"] = overruns
    summary["seconds"] = {"drawing": round(between - begun, 1), "judging": round(time.monotonic() - between, 1)}
    table = ComparisonsTable(comparisons, workspace.output)
    for kind, of_kind in images.items():
        table.add(kind, of_kind.files, scores[kind], of_kind.rows)
    if others is not None and personal is not None:
        table.add(OTHER, others.images.files, personal.of_other, others.images.rows)
        for name, (rows, values) in personal.columns().items():
            table.add_column(name, values, rows)
    table.write(folder / TABLE)
    return summary


def _has_damaged_images(folder: Path, output: Path) -> bool:
    """Whether an image of a finished evaluation is damaged; those that somebody removed are not missed."""
    path = folder / TABLE
    table = pq.read_table(path) if path.exists() else pa.table({})
    named = {name for column in table.column_names if column.endswith("_image") for name in table[column].to_pylist()}
    faults = {
        name: fault
        for name in sorted(named - {None})
        if (output / name).exists() and (fault := png_fault(output / name))
    }
    for name, fault in faults.items():
        log.warning("%s: %s; it is drawn again", output / name, fault)
    return bool(faults)


def _scorers(workspace: Workspace) -> Scorers | None:
    """The rewards that are users, those that only score, and the judges of simulated people.

    None where there are none of these and the preference accuracy is all that is measured.
    """
    settings, users = workspace.config.evaluation, list(workspace.rewards_that_label)
    if not (users or settings.rewards or workspace.simulation) and settings.preference_draws:
        log.info("nothing says what people like, so no image is drawn; evaluation.rewards names rewards that score")
        return None
    return Scorers(
        workspace.open_rewards(dict.fromkeys([*users, *settings.rewards])),
        synthetic_users=users,
        simulation=workspace.simulation,
        judges=settings.judges,
        progress=workspace.progress,
    )
