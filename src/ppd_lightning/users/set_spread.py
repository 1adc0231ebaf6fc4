"""How far vectors of few-shot sets spread, and by how much a vector of more choices is lengthened for it.

A vector that is a mean over choices has less noise the more choices there are, and is shorter. The branch has met sets
of one size: it expects their noise, and takes a short vector for a weak taste.

R = few-shot sets, S = shots of a set, E = width of a vector.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass

import numpy as np


@dataclass(frozen=True)
class SetSpread:
    """Variances of standardised vectors that are means over choices, summed over their dimensions.

    between: of people's vectors of many choices. within: of one person's sets. shots: choices of a set.
    """

    between: float
    within: float
    shots: int

    @classmethod
    def fitted(cls, vectors: np.ndarray, people: Sequence[str], shots: np.ndarray) -> SetSpread | None:
        """Of sets of people who are trained on; None where nobody has two different sets.

        Two sets that share k of their S choices differ by S - k of them alone, so their squared distance is
        2 within (S - k) / S on average. Summed over all pairs of one person's R sets, a choice that is in c of these
        being shared by c (c - 1) / 2 pairs, the squares around the person's mean come to within (R - sum c^2 / (R S)).

        Args:
            vectors: (R, E). people: (R,), whose each is. shots: (R, S), its choices, as numbers.
        """
        vectors = vectors.astype(np.float64)
        owner = np.unique(np.asarray(people, object), return_inverse=True)[1]
        squares = free = 0.0
        order = np.argsort(owner, kind="stable")
        for rows in np.split(order, np.flatnonzero(np.diff(owner[order])) + 1):
            counts = np.unique(shots[rows], return_counts=True)[1].astype(np.float64)
            squares += float(((vectors[rows] - vectors[rows].mean(0)) ** 2).sum())
            free += float(len(rows) - (counts**2).sum() / shots[rows].size)
        if free < 1e-6:
            return None
        within = squares / free
        total = float(((vectors - vectors.mean(0)) ** 2).sum(1).mean())
        return cls(max(total - within, 0.0), within, shots.shape[1])

    def stretch(self, choices: int) -> float:
        """By what a vector of so many choices is multiplied; exactly 1 for those of a set, and for fewer.

        Of a person's vector of many choices, the best linear guess by n choices is their vector times
        between / (between + variance of one choice / n). A vector of more choices than a set's is multiplied by the
        quotient of both, so the branch, which has learnt from sets, makes the better guess of it. With fewer choices
        the quotient is below 1; shortened vectors please people no more often (study of newcomers), so it is not used.
        """
        if choices <= self.shots or self.between + self.within <= 0:
            return 1.0
        return (self.between + self.within) / (self.between + self.within * self.shots / choices)

    def facts(self) -> dict[str, float]:
        """What `of_facts` takes back, as JSON."""
        return asdict(self)

    @classmethod
    def of_facts(cls, facts: Mapping[str, float]) -> SetSpread:
        """The spread of `facts`."""
        return cls(facts["between"], facts["within"], int(facts["shots"]))
