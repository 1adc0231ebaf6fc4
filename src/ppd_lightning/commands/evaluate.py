"""`ppd evaluate`: does each person prefer what is drawn for them? Win rates against the base, with their counts."""

from __future__ import annotations

import json
import logging
import time
from dataclasses import asdict
from pathlib import Path
from typing import Any

from ppd_lightning.config.folders import run_folder
from ppd_lightning.config.schemas import Config
from ppd_lightning.evaluation.comparison_images import draw_comparisons
from ppd_lightning.evaluation.comparisons import comparisons_of, evaluated_captions
from ppd_lightning.evaluation.comparisons_table import ComparisonsTable
from ppd_lightning.evaluation.profiles import augmented, count_overruns, read_profiles
from ppd_lightning.evaluation.scorers import Measures
from ppd_lightning.evaluation.summary import summarise
from ppd_lightning.generation.gallery import base_gallery, own_gallery
from ppd_lightning.generation.trained_run import open_run
from ppd_lightning.storage.atomic import write_json_atomic
from ppd_lightning.storage.fingerprints import file_sha256, fingerprint

log = logging.getLogger(__name__)


def run(config: Config) -> dict[str, Any]:
    """Draw and judge the comparisons of `evaluation`; what was drawn or scored before, by any run, is not done again.

    Leaves in the run's folder `evaluation-{key}` with comparisons.parquet, a row a comparison, and summary.json.

    Returns:
        the summary: a win rate for each group of people by what decides for them (`Measures`), and by the others;
        mean_own_score, their mean; mean_scores, the mean of every reward; lowest, the people who gain least; profiles,
        the same of the baseline of `evaluation.profiles`. In the emoji world also how often the concept is still
        recognised, and of its people the oracle's win rate, and rates by how many pairs they have and by how
        consistent their choices are (long_tail).

    Raises:
        UserError: the training is not finished, a reward or a file is missing, or nothing says what people like.
    """
    measures, begun = Measures(config), time.monotonic()
    trained, captions, profiles = open_run(config), evaluated_captions(config), read_profiles(config)
    key = {
        "base": base_gallery(trained).folder.name,
        "own": own_gallery(trained).folder.name,
        "evaluation": config.evaluation,
        "captions": fingerprint(captions),
        "profiles": profiles,
        "rewards": measures.fingerprints,
    }
    folder = run_folder(config) / f"evaluation-{fingerprint(key)}"
    if (folder / "summary.json").exists():
        log.info("%s is finished; delete it to evaluate again", folder)
        finished: dict[str, Any] = json.loads((folder / "summary.json").read_text())
        return finished
    comparisons = comparisons_of(config, captions, config.evaluation.comparisons, config.evaluation.seeds)
    prompts = None if profiles is None else augmented(comparisons, profiles)
    overruns = None if prompts is None else count_overruns(trained.model, [*prompts.values()])
    drawn = draw_comparisons(trained, comparisons, prompts)
    between = time.monotonic()
    measured = {kind: measures.of(of_kind.comparisons, of_kind.files) for kind, of_kind in drawn.items()}
    summary = {"folder": str(folder), **summarise(config, trained.model, measures, drawn, measured)}
    if overruns is not None:
        summary["profiles"]["overruns"] = overruns
    summary["seconds"] = {"drawing": round(between - begun, 1), "judging": round(time.monotonic() - between, 1)}
    table = ComparisonsTable(comparisons, Path(config.output))
    for kind, of_kind in drawn.items():
        table.add(kind, of_kind.files, measured[kind], of_kind.rows)
    table.write(folder / "comparisons.parquet")
    told = {"adapter": file_sha256(trained.adapter), "measures": measures.names}
    settings = {name: asdict(getattr(config, name)) for name in ("generation", "evaluation")}
    write_json_atomic(folder / "settings.json", told | settings)
    write_json_atomic(folder / "summary.json", summary)
    return summary
