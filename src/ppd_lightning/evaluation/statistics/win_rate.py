"""How often one of two pictures is liked better, and how sure that is.

N = comparisons, P = people, R = resamples.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from ppd_lightning.evaluation.statistics.intervals import middle, rounded

BLOCK = 4_000_000
"""Numbers that the bootstrap holds at a time."""


@dataclass(frozen=True)
class WinRate:
    """(wins + ties / 2) / n, with the ends of its 95 % interval, NaN where there is none."""

    rate: float
    low: float
    high: float
    n: int
    wins: int
    losses: int
    ties: int

    @property
    def decided(self) -> float:
        """The share of wins among the comparisons that are no tie; one half where all are."""
        return self.wins / (self.wins + self.losses) if self.wins + self.losses else 0.5

    def numbers(self) -> dict[str, Any]:
        """For a summary: all of it, rounded; low and high are None where there is no interval."""
        return {name: rounded(value) for name, value in {**asdict(self), "decided": self.decided}.items()}


def win_rate(
    differences: np.ndarray, people: Sequence[str], *, tie: float, resamples: int = 1000, seed: int = 0
) -> WinRate:
    """Count wins, losses and ties, and resample the people for the interval.

    Comparisons of one person are alike, so it is the people who are drawn with replacement, each with all of their
    comparisons; the interval holds the middle 95 % of the resampled rates (percentile bootstrap, Efron 1979). There is
    none of fewer people than `intervals.LEAST`.

    Args:
        differences: (N,), the utility of the one picture less that of the other.
        people: whose comparison each is, N names.
        tie: differences up to this size are ties.
        resamples: R.

    Raises:
        ValueError: there is no comparison, a difference is not finite, or the lengths differ.
    """
    differences = np.asarray(differences, np.float64)
    if differences.ndim != 1 or len(differences) != len(people) or not len(differences):
        raise ValueError(f"expected (N,) differences of N >= 1 people, got {differences.shape} and {len(people)}")
    if not np.isfinite(differences).all():
        raise ValueError("a difference of utilities is not finite")
    wins, losses = differences > tie, differences < -tie
    scores = 0.5 + 0.5 * wins - 0.5 * losses
    _, person = np.unique(np.asarray(people, str), return_inverse=True)
    totals, counts = np.bincount(person, scores), np.bincount(person)
    low, high = middle(resampled_rates(totals, counts, resamples, seed), len(counts))
    return WinRate(
        rate=float(scores.mean()),
        low=float(low),
        high=float(high),
        n=len(scores),
        wins=int(wins.sum()),
        losses=int(losses.sum()),
        ties=int((~wins & ~losses).sum()),
    )


def resampled_rates(totals: np.ndarray, counts: np.ndarray, resamples: int, seed: int) -> np.ndarray:
    """(R,): the rate over P people drawn with replacement, from each one's sum of scores and number of comparisons."""
    generator, people = np.random.default_rng(seed), len(totals)
    even = np.full(people, 1 / people)
    rates, step = [], max(1, BLOCK // people)
    for begin in range(0, resamples, step):
        drawn = generator.multinomial(people, even, size=min(step, resamples - begin))
        rates.append((drawn @ totals) / (drawn @ counts))
    return np.concatenate(rates)
