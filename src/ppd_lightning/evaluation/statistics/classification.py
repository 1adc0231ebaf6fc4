"""Whose choices are these? A classifier of users on their embeddings: Figure 2 of the PPD paper.

R = rows, E = width of an embedding, U = users, T = rows of each user that are tested, K = sizes of the shortlist.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch.nn import functional as F

from ppd_lightning.errors import UserError
from ppd_lightning.evaluation.statistics.intervals import middle, rounded
from ppd_lightning.evaluation.statistics.win_rate import resampled_rates

ITERATIONS = 300
"""Of L-BFGS, at most."""


@dataclass(frozen=True)
class Split:
    """Rows to train on (n,) and to test on (U,), a row a user; apart: (U,) bool, whose two share no pair."""

    train: np.ndarray
    test: np.ndarray
    apart: np.ndarray


def split_rows(users: np.ndarray, shots: np.ndarray, turn: int) -> Split:
    """Of each user the row whose `turn` it is for the test, and those that share no pair with it for training.

    Where every other row shares a pair with it, all others are trained on, and the user is not `apart`.

    Args:
        users: (R,) int, whose each row is; everybody has two rows or more.
        shots: (R, S) int, the pairs that made each row.
    """
    train, test, clean = [], [], []
    for user in np.unique(users):
        own = np.flatnonzero(users == user)
        chosen = own[turn % len(own)]
        others = own[own != chosen]
        apart = others[~np.isin(shots[others], shots[chosen]).any(1)]
        clean.append(len(apart) > 0)
        test.append(chosen)
        train += (apart if len(apart) else others).tolist()
    return Split(np.array(train, np.int64), np.array(test, np.int64), np.array(clean))


def classify(vectors: np.ndarray, users: np.ndarray, asked: np.ndarray, regularisation: float) -> np.ndarray:
    """Log-odds (N, U) of `asked` (N, E) by a multinomial logistic regression on rows (R, E) of users (R,) in [0, U).

    It minimises the summed cross entropy and regularisation / 2 times the squared length of the coefficients (not of
    the intercepts), by L-BFGS in float64 from zero. Every user counts the same, however many of the rows are theirs:
    else those with many would be the likeliest whoever is asked for. Dimensions are brought to unit deviation before.
    """
    centre, deviation = vectors.mean(0, dtype=np.float64), vectors.std(0, dtype=np.float64)
    scale = np.where(deviation > 1e-8, deviation, 1)
    known, new = (torch.from_numpy((one - centre) / scale) for one in (vectors, asked))
    labels = torch.from_numpy(users.astype(np.int64))
    count = int(users.max()) + 1
    share = torch.from_numpy(len(users) / (count * np.bincount(users, minlength=count)))[labels]
    weights = torch.zeros(known.shape[1], count, dtype=torch.float64, requires_grad=True)
    intercepts = torch.zeros(count, dtype=torch.float64, requires_grad=True)
    solver = torch.optim.LBFGS(
        [weights, intercepts], max_iter=ITERATIONS, tolerance_grad=1e-7, history_size=10, line_search_fn="strong_wolfe"
    )

    def loss() -> torch.Tensor:
        solver.zero_grad()
        # The mean instead of the sum, so that the tolerance means the same for few rows and for many.
        penalty = regularisation / 2 * weights.square().sum() / len(known)
        surprise = F.cross_entropy(known @ weights + intercepts, labels, reduction="none")
        value: torch.Tensor = (share * surprise).mean() + penalty
        value.backward()
        return value

    solver.step(loss)
    with torch.no_grad():
        odds: np.ndarray = (new @ weights + intercepts).numpy()
    return odds


def hits(odds: np.ndarray, users: np.ndarray, sizes: Sequence[int]) -> np.ndarray:
    """How likely the true user of each row is among the k likeliest, (N, K): 0 or 1, but where equals share a rank."""
    own = odds[np.arange(len(users)), users][:, None]
    above, equal = (odds > own).sum(1)[:, None], (odds == own).sum(1)[:, None]
    likely: np.ndarray = ((np.asarray(sizes) - above) / equal).clip(0, 1)
    return likely


def splits_of(users: np.ndarray, shots: np.ndarray, tests: int) -> list[Split]:
    """`split_rows` of so many turns.

    Raises:
        UserError: for nobody is there a split without shared pairs.
    """
    splits = [split_rows(users, shots, turn) for turn in range(tests)]
    if not any(split.apart.any() for split in splits):
        raise UserError(
            "shots.n: any two rows of a user share a pair, so none can be tested on other choices than were learnt "
            "from; use fewer shots a row, or more groupings"
        )
    return splits


def top_rates(
    vectors: np.ndarray,
    users: np.ndarray,
    splits: Sequence[Split],
    *,
    sizes: Sequence[int],
    regularisation: float,
    resamples: int,
) -> tuple[list[dict[str, float | None]], int]:
    """How often the right one of U users is among the k likeliest, and whose split is not clean.

    Each split that tests somebody has a classifier of its own. Users are tested only in the splits in which their rows
    for training and test share no pair; in the others they are only classes for the users who are tested.
    The intervals hold the middle 95 % over resampled users, each with all of their tests; they do not know that another
    draw of the training rows would give another classifier.

    Args:
        vectors: (R, E). users: (R,) int in [0, U). splits: of these rows, see `splits_of`.

    Returns:
        of each size k: rate, low, high (None where there is no interval) and chance; and how many users were tested.
    """
    found, tested = [], []
    for split in splits:
        if split.apart.any():
            odds = classify(vectors[split.train], users[split.train], vectors[split.test], regularisation)
            found.append(hits(odds, users[split.test], sizes))
            tested.append(split.apart)
    counts = np.sum(tested, axis=0)  # (U,), users in the order of their numbers
    count, known = len(counts), counts > 0
    totals = (np.array(found) * np.array(tested)[:, :, None]).sum(0)
    mean, rates = totals[known] / counts[known, None], []
    ones = np.ones(len(mean), np.int64)
    for column, size in enumerate(sizes):
        low, high = middle(resampled_rates(mean[:, column], ones, resamples, 0), len(ones))
        numbers = {"rate": mean[:, column].mean(), "low": low, "high": high, "chance": min(1, size / count)}
        rates.append({name: rounded(float(value)) for name, value in numbers.items()})
    return rates, len(mean)
