"""Blends of users: does what each of them likes come with their weight? PPD paper, Figure 4.

K = users, G = points of the grid, C = captions (each with its seeds), R = resamples.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.stats import rankdata

from ppd_lightning.evaluation.statistics.intervals import middle


@dataclass(frozen=True)
class RankCorrelation:
    """Spearman's correlation of a user's own weight with the mean of their own score, and its 95 % interval.

    low, high: NaN where there is none. rises: of the steps of the grid along which the user's weight grows, the share
    along which the mean grows.
    """

    correlation: float
    low: float
    high: float
    points: int
    rises: float


def simplex_grid(users: int, divisions: int) -> np.ndarray:
    """All weights of K users that are multiples of 1 / `divisions` and add up to 1, (G, K) float64.

    The corners are the users alone; G = (divisions + K - 1 choose K - 1). The first user's weight falls slowest.

    Raises:
        ValueError: no user, or no division.
    """
    if users < 1 or divisions < 1:
        raise ValueError(f"expected at least one user and one division, got {users} and {divisions}")
    return np.array(_parts(users, divisions), np.float64) / divisions


def _parts(users: int, total: int) -> list[tuple[int, ...]]:
    """Every way to give `total` to so many users in whole parts."""
    if users == 1:
        return [(total,)]
    return [(own, *rest) for own in range(total, -1, -1) for rest in _parts(users - 1, total - own)]


def rank_correlations(
    weights: np.ndarray, scores: np.ndarray, *, resamples: int = 1000, seed: int = 0
) -> list[RankCorrelation]:
    """Each user's own weight against the mean of their own score over the captions.

    The interval is a bootstrap over captions, each with the scores of all points, which share caption and noise.

    Args:
        weights: (G, K).
        scores: (C, G, K), of each image by each user's own score.
        resamples: R.

    Raises:
        ValueError: shapes that do not belong together, fewer than two points, or a score that is not finite.
    """
    if scores.ndim != 3 or scores.shape[1:] != weights.shape or len(weights) < 2 or not len(scores):
        raise ValueError(f"expected weights (G, K), G >= 2, and scores (C, G, K), got {weights.shape}, {scores.shape}")
    if not np.isfinite(scores).all():
        raise ValueError("a score is not finite")
    captions = len(scores)
    drawn = np.random.default_rng(seed).multinomial(captions, np.full(captions, 1 / captions), size=resamples)
    flat = scores.reshape(captions, -1)
    means = scores.mean(0)  # (G, K)
    again = (drawn @ flat / captions).reshape(resamples, *means.shape)
    found = []
    for user in range(weights.shape[1]):
        own = weights[:, user]
        low, high = middle(spearman(own, again[:, :, user]), captions)
        found.append(
            RankCorrelation(
                correlation=float(spearman(own, means[None, :, user])[0]),
                low=float(low),
                high=float(high),
                points=len(own),
                rises=_rises(weights, user, means[:, user]),
            )
        )
    return found


def spearman(weights: np.ndarray, means: np.ndarray) -> np.ndarray:
    """Spearman's correlations (R) of weights (G) with each row of means (R, G); 0 where all of a row are equal."""
    first, second = rankdata(weights), rankdata(means, axis=1)
    first, second = first - first.mean(), second - second.mean(1, keepdims=True)
    lengths = np.linalg.norm(first) * np.linalg.norm(second, axis=1)
    correlations: np.ndarray = np.divide(second @ first, lengths, out=np.zeros(len(means)), where=lengths > 0)
    return correlations


def _rises(weights: np.ndarray, user: int, means: np.ndarray) -> float:
    """The share of steps between neighbours, one part going from another to this user, along which the mean grows."""
    step = np.diff(np.unique(weights[:, user])).min()
    moved = weights[None] - weights[:, None]  # (G, G, K): from the first to the second
    neighbours = np.isclose(moved[:, :, user], step) & np.isclose(np.abs(moved).sum(2), 2 * step)
    grown: np.ndarray = (means[None] > means[:, None])[neighbours]
    return float(grown.mean())
