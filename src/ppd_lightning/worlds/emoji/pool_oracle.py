"""The oracle of a world with generated pictures: what the same few choices can tell whoever knows how it is made.

M = imagined people, N = pictures of the pool, of which the first D are the vendors', n = shots, S = styles,
C = candidates of a choice.
"""

from __future__ import annotations

import numpy as np

from ppd_lightning.worlds.emoji.generated_choices import Merits
from ppd_lightning.worlds.emoji.oracle import normalised
from ppd_lightning.worlds.emoji.people import People, make_people
from ppd_lightning.worlds.emoji.pool import Pool
from ppd_lightning.worlds.emoji.sides import CHOOSING


class PoolOracle:
    """Bayesian inference about a person, by importance sampling over imagined people.

    Of a choice it sees the picked picture and one other; the C - 2 further candidates among generated pictures are
    taken to be as liked as the concept's are on average, which is exact where C is 2. The other pictures of a choice
    among the vendors' are known.

    Args:
        pool: all pictures.
        people: of the world; their names of styles and statistics are used, not their tastes.
        merits: what everybody likes.
        temperature: scale of the Gumbel noise in a choice.
        candidates: C.
        imagined: M.
        seed: of the draw; with the names of the imagined people, it makes them others than the world's.
    """

    def __init__(
        self,
        pool: Pool,
        people: People,
        merits: Merits,
        temperature: float,
        candidates: int,
        *,
        imagined: int = 4096,
        seed: int = 0,
    ) -> None:
        names = [f"imagined {number}" for number in range(imagined)]
        self.pool, self._styles, self._further = pool, len(people.styles), candidates - 2
        drawn = pool.statistics[: len(pool.drawings)].reshape(-1, self._styles, len(people.statistics))
        known = make_people(names, seed, people.styles, people.statistics, drawn)
        self.utility = pool.utilities(known, merits.weights(names, seed), CHOOSING).astype(np.float32)  # (M, N)
        self._scaled = self.utility / np.float32(temperature)

    def posterior(self, picked: np.ndarray, other: np.ndarray) -> np.ndarray:
        """How likely each imagined person is the one who chose, (M,), summing to 1.

        Args:
            picked, other: (n,) int, of each shot: rows of the pool.
        """
        log_likelihood = np.zeros(len(self.utility))
        for one, beside in zip(picked.tolist(), other.tolist(), strict=True):
            log_likelihood += self._log_likelihood(one, beside)
        return normalised(log_likelihood)

    def expected_utilities(self, picked: np.ndarray, other: np.ndarray, rows: np.ndarray) -> np.ndarray:
        """What the person thinks of pictures of the pool, given the shots, in the shape of `rows`."""
        found: np.ndarray = np.tensordot(self.posterior(picked, other), self.utility[:, rows], 1)
        return found

    def drawings_for(self, picked: np.ndarray, other: np.ndarray, asked: np.ndarray) -> np.ndarray:
        """The vendors' best picture of each concept `asked` (B,) by the expected utility: (B,) rows of the pool."""
        rows = asked[:, None] * self._styles + np.arange(self._styles)
        best: np.ndarray = rows[np.arange(len(rows)), self.expected_utilities(picked, other, rows).argmax(1)]
        return best

    def _log_likelihood(self, picked: int, other: int) -> np.ndarray:
        """That each imagined person picks this one, (M,)."""
        concept, drawn = self.pool.concept[picked], len(self.pool.drawings)
        if picked < drawn:
            shown = concept * self._styles + np.arange(self._styles)
            logits, further = self._scaled[:, shown], 0
        else:
            logits, further = self._scaled[:, [picked, other]], self._further
        top = logits.max(1)
        total = np.exp(logits - top[:, None]).sum(1)
        if further:
            alike = drawn + np.flatnonzero(self.pool.concept[drawn:] == concept)
            total += further * np.exp(self._scaled[:, alike] - top[:, None]).mean(1)
        found: np.ndarray = self._scaled[:, picked].astype(np.float64) - top - np.log(total)
        return found
