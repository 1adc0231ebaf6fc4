"""What an evaluation says in the end: the numbers of its summary.json.

N = comparisons.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from ppd_lightning.backbones.released import ReleasedModel
from ppd_lightning.config.schemas import Config, DescribedUser
from ppd_lightning.data.prepared import open_latents, read_pairs
from ppd_lightning.evaluation.comparison_images import BASE, OWN, PROFILE, Drawn
from ppd_lightning.evaluation.comparisons import Comparison
from ppd_lightning.evaluation.group_win_rates import lowest, margins, rates_by_group, win_rates
from ppd_lightning.evaluation.long_tail import consistencies, numbers_of_pairs, rates_of_thirds
from ppd_lightning.evaluation.mean_scores import mean_own_score, mean_scores
from ppd_lightning.evaluation.scorers import CONCEPT, Measures
from ppd_lightning.users.embeddings import NOT_SERVED, asked_rows, people_served

log = logging.getLogger(__name__)

Measured = Mapping[str, np.ndarray]
"""(N,) by name of the measure."""


def summarise(
    config: Config,
    model: ReleasedModel,
    measures: Measures,
    drawn: Mapping[str, Drawn],
    measured: Mapping[str, Measured],
) -> dict[str, Any]:
    """All that the measures tell of the pictures.

    Args:
        measures: what `measured` comes from.
        drawn, measured: by kind of picture.
    """
    comparisons, base, own = drawn[OWN].comparisons, measured[BASE], measured[OWN]
    margin = margins(measures, comparisons, base, own)
    summary = win_rates(config, comparisons, margin)
    summary["mean_own_score"] = mean_own_score(config, measures, comparisons, base, own)
    if measures.rewards:
        summary["mean_scores"] = mean_scores(config, measures, comparisons, base, own)
    summary["lowest"] = lowest(config, comparisons, margin.decisive)
    if PROFILE in drawn:
        summary["profiles"] = _of_profiles(config, measures, drawn, measured)
    summary |= _not_served(config)
    if measures.judges:
        summary["long_tail"] = _long_tail(config, model, comparisons, margin.decisive)
    if CONCEPT in base:
        if measures.judges and isinstance(config.user, DescribedUser):
            captions = [one.caption for one in comparisons]
            rows = asked_rows(config, model, [one.user for one in comparisons], captions)
            best = measures.world.oracle_utilities(comparisons, rows) - base[measures.judges[0]]
            summary["oracle_win_rate"] = rates_by_group(config, comparisons, best)
        summary["concept_accuracy"] = {
            config.objective.name if kind == OWN else kind: round(float(of_kind[CONCEPT].mean()), 4)
            for kind, of_kind in measured.items()
        }
    return summary


def _of_profiles(
    config: Config, measures: Measures, drawn: Mapping[str, Drawn], measured: Mapping[str, Measured]
) -> dict[str, Any]:
    """The win rates of the baseline over the base, for those who have a profile, and how many have none."""
    rows, comparisons = drawn[PROFILE].rows, drawn[PROFILE].comparisons
    base = {name: values[rows] for name, values in measured[BASE].items()}
    rates = win_rates(config, comparisons, margins(measures, comparisons, base, measured[PROFILE]))
    without = {one.user for one in drawn[OWN].comparisons} - {one.user for one in comparisons}
    return {**rates, "without": len(without)}


def _not_served(config: Config) -> dict[str, Any]:
    people = people_served(config)[1]
    if not people:
        return {}
    why = NOT_SERVED[config.user.kind]
    log.warning("%d people are not drawn for: %s", len(people), why)
    return {"not_served": {"people": len(people), "why": why}}


def _long_tail(
    config: Config, model: ReleasedModel, comparisons: Sequence[Comparison], margin: np.ndarray
) -> dict[str, Any]:
    """Win rates of thirds of each group of people, by number of pairs and by consistency."""
    pairs = read_pairs(config)
    values: dict[str, Mapping[str, float]] = {
        "pairs": numbers_of_pairs(pairs),
        "consistency": consistencies(pairs, open_latents(config, model.fingerprint("encoder"))),
    }
    return {name: rates_of_thirds(config, comparisons, margin, of_people) for name, of_people in values.items()}
