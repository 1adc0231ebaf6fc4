"""How far a figure would move with other people and other seeds of the training: a bootstrap over both.

R = resamples, P = people, S = seeds of the training (one trained model each), N = comparisons.

Two things are resampled independently of each other: people, each with all of their comparisons, and trainings. P of
P people are drawn with replacement (percentile bootstrap, Efron 1979). Of S trainings S - 1 are drawn, because S
of so few would make intervals too narrow: the variance of a mean of S draws is (S - 1) / S of what it should be, that
of S - 1 draws is right (Rao and Wu 1988). A single training is always drawn: then an interval tells of people alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ppd_lightning.evaluation.statistics.intervals import middle


@dataclass(frozen=True)
class Estimate:
    """A figure with the ends of its 95 % interval, NaN where there is none.

    It is of `n` comparisons by `people`, and so many `trainings`.
    """

    value: float
    low: float
    high: float
    n: int
    people: int
    trainings: int


@dataclass(frozen=True)
class Draws:
    """How often each person is drawn, (R, P), and each of the people's numbers of comparisons, (P,)."""

    times: np.ndarray
    counts: np.ndarray

    @property
    def total(self) -> np.ndarray:
        """(R,): the comparisons that are drawn."""
        total: np.ndarray = self.times @ self.counts
        return total


def draw_people(person: np.ndarray, resamples: int, seed: int = 0) -> Draws:
    """People drawn with replacement; `person` (N,) int in [0, P) says whose each comparison is."""
    counts = np.bincount(person)
    times = np.random.default_rng(seed).multinomial(len(counts), np.full(len(counts), 1 / len(counts)), size=resamples)
    return Draws(times, counts)


def draw_trainings(trainings: int, resamples: int, seed: int = 1) -> np.ndarray:
    """(R, S): the share of each training in a resample, from S - 1 draws; all ones where S is 1."""
    drawn = max(1, trainings - 1)
    shares: np.ndarray = np.random.default_rng(seed).multinomial(
        drawn, np.full(trainings, 1 / trainings), size=resamples
    )
    return shares / drawn


def resampled_means(values: np.ndarray, person: np.ndarray, people: Draws, shares: Sequence[np.ndarray]) -> np.ndarray:
    """The mean of values in each resample.

    Args:
        values: (S1, ..., Sk, N), of every combination of trainings of k methods; or (N,) where nothing was trained.
        person: (N,), see `draw_people`.
        shares: of each of the k methods, see `draw_trainings`.

    Returns:
        (R,).
    """
    sums = np.apply_along_axis(lambda own: np.bincount(person, own, len(people.counts)), -1, values)  # (S1, ..., P)
    means = np.einsum("...p,rp->r...", sums, people.times)
    for share in shares:
        means = np.einsum("rs...,rs->r...", means, share)
    drawn: np.ndarray = means / people.total
    return drawn


def estimate(values: np.ndarray, people: Sequence[str], resamples: int) -> Estimate:
    """The mean of values (S1, ..., Sk, N) with an interval over people and trainings.

    Raises:
        ValueError: there is no comparison, or the lengths differ.
    """
    if not len(people) or values.shape[-1] != len(people):
        raise ValueError(f"expected (..., N) values of N >= 1 people, got {values.shape} and {len(people)}")
    _, person = np.unique(np.asarray(people, str), return_inverse=True)
    drawn = draw_people(person, resamples)
    shares = [draw_trainings(count, resamples, axis + 1) for axis, count in enumerate(values.shape[:-1])]
    low, high = middle(resampled_means(values, person, drawn, shares), len(drawn.counts))
    trainings = min(values.shape[:-1], default=1)
    return Estimate(float(values.mean()), float(low), float(high), len(people), len(drawn.counts), trainings)
