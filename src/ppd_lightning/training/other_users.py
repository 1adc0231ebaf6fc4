"""The other people whom a pair's person is compared with, where an objective asks for them.

Drawn from (seed, epoch, pair), as everything that is random about a pair, so they do not depend on its batch.

B = pairs in a batch, N = pairs, K = others of a pair.
"""

from __future__ import annotations

import numpy as np

from ppd_lightning.diffusion.draws import choose
from ppd_lightning.errors import UserError


class OtherUsers:
    """Draws K pairs of other people for a pair, with replacement: whoever chose more often is drawn more often.

    Args:
        people: (N,) int, whose pair each is.
        pair_ids: (N,) int64.
        count: K.

    Raises:
        UserError: the pairs are all of one person.
    """

    def __init__(self, people: np.ndarray, pair_ids: np.ndarray, count: int, seed: int) -> None:
        self.pair_ids, self.count, self.seed = pair_ids, count, seed
        _, self._person, self._own = np.unique(people, return_inverse=True, return_counts=True)
        self._by_person = np.argsort(self._person, kind="stable")
        self._begin = np.cumsum(self._own) - self._own
        if len(self._own) < 2:
            raise UserError(
                "objective.name: the objective compares people with each other, and the pairs that are trained on are "
                "all of one person; use pairs of several people, or another objective, such as objective=ppd"
            )

    def rows(self, rows: np.ndarray, epochs: np.ndarray) -> np.ndarray:
        """Pairs (B, K) int64 of others for the pairs `rows` (B,) in `epochs` (B,)."""
        return np.array(
            [
                [self._other(row, epoch, number) for number in range(self.count)]
                for row, epoch in zip(rows.tolist(), epochs.tolist(), strict=True)
            ],
            np.int64,
        ).reshape(-1, self.count)

    def _other(self, row: int, epoch: int, number: int) -> int:
        """Among all pairs by person, one before or after those of the pair's own person."""
        person = self._person[row]
        begin, own = int(self._begin[person]), int(self._own[person])
        drawn = choose(f"other {number}", self.seed, epoch, int(self.pair_ids[row]), len(self.pair_ids) - own)
        return int(self._by_person[drawn if drawn < begin else drawn + own])
