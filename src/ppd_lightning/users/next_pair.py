"""Which pair to show a person next: the one after whose answer their vector is expected to point most rightly.

Right is the direction of the vector that the person would have by many choices. It is not known; people who may be
this one are drawn from where those of the training lie, and weighted by how likely they make the answers so far. For
each pair of a pool and both answers the vector is made as `describe` would make it, and its cosine with those of these
people averaged, each answer counting as much as they would give it (expected cosine, one step ahead).

Criteria that look at what an answer says of the person, and not at the vector that is made of it, gain little or
nothing on random pairs (mutual information, posterior variance, D-optimality; see the study of newcomers): a mean over
choices keeps the noise of each of them.

N = pairs of the pool, S = choices so far, M = imagined people, D = width of what a choice gives, E = of an embedding.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence

import numpy as np

from ppd_lightning.errors import UserError
from ppd_lightning.users.choice_model import ChoiceModel
from ppd_lightning.users.describer import Describer
from ppd_lightning.users.describing import Instruments
from ppd_lightning.users.kind import UserKind
from ppd_lightning.users.new_choices import NewChoice, usable

IMAGINED = 1024
"""M: people who are drawn to average over."""


class Pool:
    """Pairs that can be shown, as a model sees them; made once for any number of people.

    Args:
        model: of the vectors.
        pairs: N; which picture of each is named preferred means nothing.

    Raises:
        UserError: a picture cannot be seen.
    """

    def __init__(self, model: ChoiceModel, pairs: Sequence[NewChoice]) -> None:
        self.pairs = tuple(pairs)
        self.model, self._row = model, {one.pair_id: row for row, one in enumerate(self.pairs)}
        self._evidence = model.evidence(self.pairs)  # (N, 2, D)
        self._people = imagined_people(*model.prior)  # (M, E)
        self._log_odds = model.log_odds(self._people, self._evidence)  # (M, N)

    def next_pair(self, choices: Sequence[NewChoice], without: Collection[int] = ()) -> int:
        """The index of the pair to show next; none of those that the person has answered. The same each time.

        Args:
            choices: of the person so far, also none; those between pictures of the pool cost nothing.
            without: indices of further pairs that are not shown.

        Raises:
            UserError: the person has answered every pair, or nothing that they answered tells anything.
        """
        answered = {one.pair_id for one in choices}
        same = (self._evidence[:, 0] == self._evidence[:, 1]).all(1)
        left = np.array([one.pair_id not in answered for one in self.pairs], bool) & ~same
        left[[*without]] = False
        if not left.any():
            raise UserError("next_pair: no pair of the pool is left that can tell anything; give more pairs")
        so_far = self._of(usable({"this person": choices})["this person"]) if choices else self._evidence[:0]
        expected = expected_cosines(self.model, self._people, self._log_odds, so_far, self._evidence)
        return int(np.where(left, expected, -np.inf).argmax())

    def _of(self, choices: Sequence[NewChoice]) -> np.ndarray:
        """What choices give, (S, 2, D); pictures of the pool are not encoded again."""
        others = [one for one in choices if one.pair_id not in self._row]
        encoded = iter(self.model.evidence(others) if others else ())
        found = []
        for one in choices:
            row = self._row.get(one.pair_id)
            if row is None:
                found.append(next(encoded))
            else:
                as_listed = one.preferred_uid == self.pairs[row].preferred_uid
                found.append(self._evidence[row] if as_listed else self._evidence[row, ::-1])
        return np.stack(found)


def open_pool(describer: Describer, kind: UserKind, using: Instruments, pairs: Sequence[NewChoice]) -> Pool:
    """A pool for people who are described as those of a training were.

    Raises:
        UserError: vectors of this kind do not follow from single choices, there is no pair, a picture cannot be seen,
            or the networks of the kind are missing or other ones.
    """
    if kind.not_for_pools:
        raise UserError(f"user={kind.kind}: cannot say which pair to show next: {kind.not_for_pools}")
    if not pairs:
        raise UserError("a pool needs at least one pair: (caption, picture, picture)")
    describer.check_sight(kind, using)
    return Pool(kind.choice_model(using, describer.fitted, describer.scale, describer.facts["shots"]), pairs)


def imagined_people(mean: np.ndarray, covariance: np.ndarray, count: int = IMAGINED) -> np.ndarray:
    """Normal vectors (count, E), always the same."""
    standard = np.random.default_rng(0).standard_normal((count, len(mean)))
    people: np.ndarray = mean + standard @ np.linalg.cholesky(covariance).T
    return people


def expected_cosines(
    model: ChoiceModel, people: np.ndarray, log_odds: np.ndarray, so_far: np.ndarray, evidence: np.ndarray
) -> np.ndarray:
    """How well the vector is expected to point after each pair is answered, (N,).

    Args:
        people: (M, E). log_odds: (M, N), with which each of them answers the pairs of the pool in the first way.
        so_far: (S, 2, D), what the choices so far gave. evidence: (N, 2, D), what the pairs would give.
    """
    likelihood = -np.logaddexp(0, -model.log_odds(people, so_far)).sum(1) if len(so_far) else np.zeros(len(people))
    weights = np.exp(likelihood - likelihood.max())
    directions = people / np.linalg.norm(people, axis=1, keepdims=True) * (weights / weights.sum())[:, None]
    first = np.exp(-np.logaddexp(0, -log_odds)).T @ directions  # (N, E): summed over those who answer so
    second = directions.sum(0) - first
    expected = np.zeros(len(evidence))
    for way, towards in enumerate((first, second)):
        vectors = model.extended(so_far[:, 0], evidence[:, way])
        lengths = np.maximum(np.linalg.norm(vectors, axis=1), 1e-12)
        expected += (vectors * towards).sum(1) / lengths
    return expected
