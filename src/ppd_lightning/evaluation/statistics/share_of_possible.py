"""How much of what was possible was reached: a win rate beside that of an oracle, both counted from chance.

N = comparisons, P = people.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ppd_lightning.evaluation.statistics.intervals import middle, rounded
from ppd_lightning.evaluation.statistics.win_rate import resampled_rates

CHANCE = 0.5


def share_of_possible(
    reached: np.ndarray, possible: np.ndarray, people: Sequence[str], *, tie: float, resamples: int, seed: int = 0
) -> dict[str, float | int | None]:
    """(rate - 1/2) / (oracle's rate - 1/2), with the ends of its 95 % interval.

    The same people are drawn for both rates of a resample, each with all of their comparisons, so what makes some
    people easier for both does not widen the interval.

    Args:
        reached, possible: (N,), the utility of the picture less that of the other one, and the same of the oracle's.
        people: whose comparison each is, N names.
        tie: differences up to this size are ties.

    Returns:
        share, low, high and n, for a summary. The share is None where the oracle's rate is not above 1/2, its ends also
        where that is so in a resample, or where there are fewer people than `intervals.LEAST`.
    """
    scores = [0.5 * (values > tie) - 0.5 * (values < -tie) + CHANCE for values in (reached, possible)]
    _, person = np.unique(np.asarray(people, str), return_inverse=True)
    counts = np.bincount(person)
    drawn = [resampled_rates(np.bincount(person, values), counts, resamples, seed) for values in scores]
    share = _ratio(np.array(scores[0].mean()), np.array(scores[1].mean()))
    low, high = middle(_ratio(drawn[0], drawn[1]), len(counts))
    numbers = {"share": share, "low": low, "high": high}
    return {name: rounded(float(value)) for name, value in numbers.items()} | {"n": len(person)}


def _ratio(rate: np.ndarray, best: np.ndarray) -> np.ndarray:
    """NaN where nothing above chance was possible."""
    above = best - CHANCE
    found: np.ndarray = np.where(above > 0, (rate - CHANCE) / np.where(above > 0, above, 1), np.nan)
    return found
