"""How often rewards and people order the same two images alike.

N = pairs of images, R = labellers.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Agreement:
    """Verdicts of labellers on the same pairs, compared.

    names: R labellers. pairs: N. ties: (R,) pairs that each does not order. both: (R, R) pairs that both order.
    alike: (R, R) of these, those that both order alike.
    """

    names: tuple[str, ...]
    pairs: int
    ties: np.ndarray
    both: np.ndarray
    alike: np.ndarray

    def as_dict(self) -> dict[str, dict[str, dict[str, float | int | None]]]:
        """{labeller: {other labeller: {share, n}}}; the share of no pairs is None."""
        return {
            name: {
                other: {"share": self.share(row, column), "n": int(self.both[row, column])}
                for column, other in enumerate(self.names)
                if row != column
            }
            for row, name in enumerate(self.names)
        }

    def share(self, row: int, column: int) -> float | None:
        """Of the pairs that two labellers order, the share that they order alike."""
        count = int(self.both[row, column])
        return round(int(self.alike[row, column]) / count, 4) if count else None


def agreement(leads: Mapping[str, np.ndarray]) -> Agreement:
    """Compare labellers.

    Args:
        leads: by each labeller, (N,): above 0 where the first image of a pair is preferred, below where the second is,
            0 at a tie.
    """
    verdicts = np.stack([np.sign(lead) for lead in leads.values()]).astype(np.int64)  # (R, N)
    decided = np.abs(verdicts)
    both = decided @ decided.T
    return Agreement(tuple(leads), verdicts.shape[1], (decided == 0).sum(1), both, (both + verdicts @ verdicts.T) // 2)
