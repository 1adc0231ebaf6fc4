"""`ppd evaluate`: does each person prefer what is drawn for them? Win rates against the base, with their counts."""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from ppd_lightning.config.schemas import Config, DescribedUser
from ppd_lightning.data.layout import open_latents, read_pairs
from ppd_lightning.evaluation.comparisons import Comparison, comparisons_of, evaluated_captions
from ppd_lightning.evaluation.drawn import draw_base, draw_for_profiles, draw_own
from ppd_lightning.evaluation.long_tail import consistencies, numbers_of_pairs, rates_of_thirds
from ppd_lightning.evaluation.means import mean_own_score, mean_scores
from ppd_lightning.evaluation.measures import Measures
from ppd_lightning.evaluation.profiles import augmented, count_overruns, read_profiles
from ppd_lightning.evaluation.rates import lowest, margins, rates_by_group, win_rates
from ppd_lightning.evaluation.table import ComparisonsTable
from ppd_lightning.generation.gallery import base_gallery, own_gallery
from ppd_lightning.generation.trained import TrainedRun, open_run
from ppd_lightning.run.atomic import write_json_atomic
from ppd_lightning.run.fingerprints import file_sha256, fingerprint
from ppd_lightning.run.folders import run_folder
from ppd_lightning.users.embeddings import NOT_SERVED, asked_rows, people_served

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
    measures = Measures(config)
    begun = time.monotonic()
    trained = open_run(config)
    captions = evaluated_captions(config)
    profiles = None if config.evaluation.profiles is None else read_profiles(Path(config.evaluation.profiles))
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
    overruns = None if prompts is None else count_overruns(trained.model, list(prompts.values()))
    files = {"base": draw_base(trained, comparisons), "own": draw_own(trained, comparisons)}
    described = [row for row, one in enumerate(comparisons) if prompts and one in prompts]
    if prompts is not None:
        files["profile"] = draw_for_profiles(trained, [comparisons[row] for row in described], prompts)
    drawn = time.monotonic()

    shown = {kind: described if kind == "profile" else list(range(len(comparisons))) for kind in files}
    measured = {kind: measures.of([comparisons[row] for row in shown[kind]], files[kind]) for kind in files}
    base, own = measured["base"], measured["own"]
    margin = margins(measures, comparisons, base, own)
    summary: dict[str, Any] = {"folder": str(folder), **win_rates(config, comparisons, margin)}
    summary["mean_own_score"] = mean_own_score(config, measures, comparisons, base, own)
    if measures.rewards:
        summary["mean_scores"] = mean_scores(config, measures, comparisons, base, own)
    summary["lowest"] = lowest(config, comparisons, margin.decisive)
    not_served = people_served(config)[1]
    if not_served:
        why = NOT_SERVED[config.user.kind]
        log.warning("%d people are not drawn for: %s", len(not_served), why)
        summary["not_served"] = {"people": len(not_served), "why": why}
    if measures.judges:
        summary["long_tail"] = _long_tail(config, trained, comparisons, margin.decisive)
    concepts = measures.knows_concepts(captions)
    if measures.judges and concepts and isinstance(config.user, DescribedUser):
        rows = asked_rows(
            config, trained.model, [one.user for one in comparisons], [one.caption for one in comparisons]
        )
        best = measures.world.oracle_utilities(comparisons, rows)
        summary["oracle_win_rate"] = rates_by_group(config, comparisons, best - base[measures.judges[0]])
    if concepts:
        recognised = {
            kind: measures.recognised([comparisons[row] for row in shown[kind]], files[kind]) for kind in files
        }
        named = {"base": "base", "own": config.objective.name, "profile": "profile"}
        summary["concept_accuracy"] = {named[kind]: round(float(right.mean()), 4) for kind, right in recognised.items()}
        measured = {kind: {**measured[kind], "concept": recognised[kind]} for kind in files}
    if prompts is not None:
        told = [comparisons[row] for row in described]
        of_base = {name: values[described] for name, values in base.items()}
        rates = win_rates(config, told, margins(measures, told, of_base, measured["profile"]))
        without = {one.user for one in comparisons} - {one.user for one in told}
        summary["profiles"] = {**rates, "overruns": overruns, "without": len(without)}
    summary["seconds"] = {"drawing": round(drawn - begun, 1), "judging": round(time.monotonic() - drawn, 1)}

    table = ComparisonsTable(comparisons, Path(config.output))
    for kind in files:
        table.add(kind, files[kind], measured[kind], shown[kind])
    table.write(folder / "comparisons.parquet")
    settings = {name: asdict(getattr(config, name)) for name in ("generation", "evaluation")}
    write_json_atomic(folder / "settings.json", {"adapter": file_sha256(trained.adapter), **settings})
    write_json_atomic(folder / "summary.json", summary)
    return summary


def _long_tail(
    config: Config, trained: TrainedRun, comparisons: Sequence[Comparison], margin: np.ndarray
) -> dict[str, Any]:
    """Win rates of thirds of each group of people, by number of pairs and by consistency."""
    pairs = read_pairs(config)
    latents = open_latents(config, trained.model.fingerprint("encoder"))
    measured: dict[str, Mapping[str, float]] = {
        "pairs": numbers_of_pairs(pairs),
        "consistency": consistencies(pairs, latents),
    }
    return {name: rates_of_thirds(config, comparisons, margin, values) for name, values in measured.items()}
