"""The numbers of an evaluation's summary.json.

N = comparisons.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from ppd_lightning.data.prepared import PreparedData
from ppd_lightning.evaluation.comparisons.images import BASE, OWN, PROFILE, ComparisonImages
from ppd_lightning.evaluation.comparisons.selection import Comparison
from ppd_lightning.evaluation.scores.content import content_means
from ppd_lightning.evaluation.scores.group_win_rates import WinRates, margins
from ppd_lightning.evaluation.scores.long_tail import consistencies, numbers_of_pairs, rates_of_thirds
from ppd_lightning.evaluation.scores.mean_scores import mean_own_score, mean_scores
from ppd_lightning.evaluation.scores.own_against_other import OwnAgainstOther
from ppd_lightning.evaluation.scores.scorers import CONCEPT, Scorers
from ppd_lightning.users.users import Users

log = logging.getLogger(__name__)

Scores = Mapping[str, np.ndarray]
"""(N,) by name of the scorer."""


def summarise(
    scorers: Scorers,
    images: Mapping[str, ComparisonImages],
    scores: Mapping[str, Scores],
    *,
    data: PreparedData,
    users: Users,
    method: str,
    tie: float,
    bootstrap: int,
    personal: OwnAgainstOther | None = None,
) -> dict[str, Any]:
    """Everything that follows from the scores of the images.

    Args:
        scorers: where `scores` come from.
        images, scores: by kind of image.
        data, users: of the run.
        method: what the run is called beside the base, such as ppd.
        tie: margins up to this count as a tie.
        bootstrap: resamples for the intervals.
        personal: what another person was asked.
    """
    rates = WinRates(tie, bootstrap, bool(scorers.synthetic_users))
    comparisons, base, own = images[OWN].comparisons, scores[BASE], scores[OWN]
    margin = margins(scorers, comparisons, base, own)
    summary = rates.of(comparisons, margin)
    summary["mean_own_score"] = mean_own_score(scorers, comparisons, base, own, method)
    if scorers.rewards:
        summary["mean_scores"] = mean_scores(scorers, comparisons, base, own, method)
    summary["lowest"] = rates.lowest(comparisons, margin.decisive)
    if personal is not None:
        summary |= personal.rates(scorers, rates)
    if PROFILE in images:
        summary["profiles"] = _of_profiles(rates, scorers, images, scores)
    summary |= _not_served(users)
    if scorers.judges:
        summary["long_tail"] = _long_tail(rates, data, comparisons, margin.decisive)
    if CONCEPT in base:
        if scorers.simulation is not None and scorers.judges and users.kind.by_shots:
            people, captions = [one.user for one in comparisons], [one.caption for one in comparisons]
            shots = users.asked(people, captions).shots
            best = scorers.simulation.best_utilities(people, captions, shots) - base[scorers.judges[0]]
            summary["oracle_win_rate"] = rates.by_group(comparisons, best)
            summary["share_of_possible"] = rates.shares(comparisons, margin.decisive, best)
        summary["concept_accuracy"] = {
            method if kind == OWN else kind: round(float(of_kind[CONCEPT].mean()), 4)
            for kind, of_kind in scores.items()
        }
        content = content_means(images, scores, method, bootstrap)
        summary |= {"content": content} if content else {}
    return summary


def _of_profiles(
    rates: WinRates, scorers: Scorers, images: Mapping[str, ComparisonImages], scores: Mapping[str, Scores]
) -> dict[str, Any]:
    """The win rates of the baseline over the base, for those who have a profile, and how many have none."""
    rows, comparisons = images[PROFILE].rows, images[PROFILE].comparisons
    base = {name: values[rows] for name, values in scores[BASE].items()}
    found = rates.of(comparisons, margins(scorers, comparisons, base, scores[PROFILE]))
    without = {one.user for one in images[OWN].comparisons} - {one.user for one in comparisons}
    return {**found, "without": len(without)}


def _not_served(users: Users) -> dict[str, Any]:
    people, why = users.served()[1], users.kind.not_served
    if not people:
        return {}
    log.warning("%d people are not drawn for: %s", len(people), why)
    return {"not_served": {"people": len(people), "why": why}}


def _long_tail(
    rates: WinRates, data: PreparedData, comparisons: Sequence[Comparison], margin: np.ndarray
) -> dict[str, Any]:
    """Win rates of thirds of each group of people, by number of pairs and by consistency."""
    pairs = data.read_pairs()
    values: dict[str, Mapping[str, float]] = {
        "pairs": numbers_of_pairs(pairs),
        "consistency": consistencies(pairs, data.open_latents()),
    }
    return {name: rates_of_thirds(rates, comparisons, margin, of_people) for name, of_people in values.items()}
