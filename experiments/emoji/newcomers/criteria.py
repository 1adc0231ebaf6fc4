"""Ways to choose the next pair, by distance and cosine to the vector of many choices; nothing is drawn.

    python experiments/emoji/newcomers/criteria.py RUN FILE

RUN is the folder of a finished run in the embedded world with `user=features`; FILE becomes a CSV. The people are not
those of study.py. Each criterion looks one answer ahead.

P = people, N = pairs of the pool, M = imagined people, S = choices so far, E = width of an embedding.
"""

from __future__ import annotations

import csv
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
from answers import POOL, newcomers
from study import ANSWERS, PEOPLE, interval

from ppd_lightning.config.finished import config_of
from ppd_lightning.config.workspace import Workspace
from ppd_lightning.storage.atomic import atomic_path
from ppd_lightning.users.describer import open_of_run
from ppd_lightning.users.new_choices import read_pictures
from ppd_lightning.users.next_pair import expected_cosines, imagined_people, open_pool

Criterion = Callable[["Asking", np.ndarray, np.ndarray], np.ndarray]


class Asking:
    """A pool as criteria see it: evidence (N, 2, E), people (M, E), and how likely each answers so, first (M, N)."""

    def __init__(self, run: Path) -> None:
        workspace = Workspace(config_of(run))
        self.answers = newcomers(run, "trial", PEOPLE)
        describer = open_of_run(run, workspace.config.user)
        pairs = read_pictures("this person", self.answers.pairs)
        self.model = open_pool(describer, workspace.config.user, workspace.instruments, pairs[:1]).model
        every = self.model.evidence(pairs)
        self.evidence, self.others = every[:POOL], every[POOL:]
        self.people = imagined_people(*self.model.prior)
        self.log_odds = self.model.log_odds(self.people, self.evidence)
        self.first = np.exp(-np.logaddexp(0, -self.log_odds))

    def weights(self, so_far: np.ndarray) -> np.ndarray:
        """How likely each imagined person is the one who gave the answers (S, 2, E): (M,)."""
        if not len(so_far):
            return np.full(len(self.people), 1 / len(self.people))
        likelihood = -np.logaddexp(0, -self.model.log_odds(self.people, so_far)).sum(1)
        weights = np.exp(likelihood - likelihood.max())
        return np.asarray(weights / weights.sum())

    def moments(self, so_far: np.ndarray) -> list[tuple[np.ndarray, np.ndarray]]:
        """Of both answers: how likely they are, (N,), and that times the mean of those who give them, (N, E)."""
        weights = self.weights(so_far)
        return [(weights @ first, first.T @ (weights[:, None] * self.people)) for first in (self.first, 1 - self.first)]


def at_random(asking: Asking, so_far: np.ndarray, order: np.ndarray) -> np.ndarray:
    """Whichever comes first in a random order."""
    return order


def expected_cosine(asking: Asking, so_far: np.ndarray, order: np.ndarray) -> np.ndarray:
    """That of `next_pair`."""
    return expected_cosines(asking.model, asking.people, asking.log_odds, so_far, asking.evidence)


def expected_distance(asking: Asking, so_far: np.ndarray, order: np.ndarray) -> np.ndarray:
    """How near the vector is expected to come, by squared distance."""
    near = np.zeros(POOL)
    for way, (likely, mean) in enumerate(asking.moments(so_far)):
        vectors = asking.model.extended(so_far[:, 0], asking.evidence[:, way])
        near += 2 * (vectors * mean).sum(1) - likely * (vectors**2).sum(1)
    return near


def expected_change(asking: Asking, so_far: np.ndarray, order: np.ndarray) -> np.ndarray:
    """How far the vector is expected to move."""
    now = so_far[:, 0].mean(0) if len(so_far) else 0
    moved = np.zeros(POOL)
    for way, (likely, _) in enumerate(asking.moments(so_far)):
        moved += likely * ((asking.model.extended(so_far[:, 0], asking.evidence[:, way]) - now) ** 2).sum(1)
    return moved


def posterior_variance(asking: Asking, so_far: np.ndarray, order: np.ndarray) -> np.ndarray:
    """By how much the answer is expected to reduce the variance of who it may be."""
    return np.asarray(sum((mean**2).sum(1) / likely for likely, mean in asking.moments(so_far)))


def mutual_information(asking: Asking, so_far: np.ndarray, order: np.ndarray) -> np.ndarray:
    """Of the answer and the person."""
    weights = asking.weights(so_far)
    return entropy(weights @ asking.first) - weights @ entropy(asking.first)


def largest_difference(asking: Asking, so_far: np.ndarray, order: np.ndarray) -> np.ndarray:
    """Determinant of the sum of squares of the differences between both answers (D-optimality), one pair more."""
    difference = asking.evidence[:, 0] - asking.evidence[:, 1]
    before = so_far[:, 0] - so_far[:, 1]
    inverse = np.linalg.inv(before.T @ before + np.eye(difference.shape[1]))
    return np.einsum("ne,ef,nf->n", difference, inverse, difference)


CRITERIA: tuple[Criterion, ...] = (
    at_random,
    expected_cosine,
    expected_distance,
    expected_change,
    posterior_variance,
    mutual_information,
    largest_difference,
)


def main() -> None:
    asking = Asking(Path(sys.argv[1]))
    many = [given(asking.others, asking.answers.first[person, POOL:])[:, 0].mean(0) for person in range(PEOPLE)]
    with atomic_path(Path(sys.argv[2])) as unfinished, unfinished.open("w", newline="") as file:
        table = csv.writer(file, lineterminator="\n")
        table.writerow(["criterion", "answers", "distance", "low", "high", "cosine", "low", "high", "people"])
        for criterion in CRITERIA:
            found = np.array([vectors(asking, criterion, person) for person in range(PEOPLE)])  # (P, answers, E)
            for column, n in enumerate(ANSWERS):
                own = found[:, column]
                cosine = (own * many).sum(1) / np.linalg.norm(own, axis=1) / np.linalg.norm(many, axis=1)
                ends = [interval(values) for values in (np.linalg.norm(own - many, axis=1), cosine)]
                figures = [f"{x:.3f}" for one in ends for x in (one.value, one.low, one.high)]
                table.writerow([criterion.__name__, n, *figures, PEOPLE])


def vectors(asking: Asking, criterion: Criterion, person: int) -> np.ndarray:
    """A person's vectors after so many answers as ANSWERS says, (answers, E)."""
    order, so_far, left = np.random.default_rng(person).random(POOL), asking.evidence[:0], np.ones(POOL, bool)
    for _ in range(ANSWERS[-1]):
        pair = int(np.where(left, criterion(asking, so_far, order), -np.inf).argmax())
        left[pair] = False
        answer = given(asking.evidence[[pair]], asking.answers.first[person, [pair]])
        so_far = np.concatenate([so_far, answer])
    return np.stack([so_far[:n, 0].mean(0) for n in ANSWERS])


def given(evidence: np.ndarray, first: np.ndarray) -> np.ndarray:
    """Evidence (N, 2, E) of pairs as they were answered."""
    return np.where(first[:, None, None], evidence, evidence[:, ::-1])


def entropy(chance: np.ndarray) -> np.ndarray:
    """Of a yes or no, in nats."""
    kept = np.clip(chance, 1e-12, 1 - 1e-12)
    return np.asarray(-(kept * np.log(kept) + (1 - kept) * np.log(1 - kept)))


if __name__ == "__main__":
    main()
