"""The emoji world with generated pictures as a `data.simulation.Simulation`.

N = images, S = styles, D = vendors' pictures.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property

import numpy as np
from torch import Tensor

from ppd_lightning.data.pairs import stable_ids
from ppd_lightning.data.prepared import PreparedData
from ppd_lightning.worlds.emoji.generated_choices import Merits
from ppd_lightning.worlds.emoji.pool import Pool, read_pool
from ppd_lightning.worlds.emoji.pool_oracle import PoolOracle
from ppd_lightning.worlds.emoji.real_pictures import RealPictures
from ppd_lightning.worlds.emoji.sides import JUDGING, Side
from ppd_lightning.worlds.emoji.simulation import TASTE, EmojiSimulation


class GeneratedSimulation(EmojiSimulation):
    """People like a style, and also that a picture is faithful and well drawn.

    The judge JUDGING shares no network with what people chose by, the side CHOOSING, which can be asked too; TASTE is
    JUDGING without what everybody likes.

    Args:
        data, choice_temperature, seed: as of `EmojiSimulation`.
        merits: what everybody likes.
        candidates: pictures of which a person picked one.

    Raises (its methods):
        UserError: the data are not prepared, or a file of a network is missing.
    """

    def __init__(
        self, data: PreparedData, choice_temperature: float, seed: int, merits: Merits, candidates: int
    ) -> None:
        super().__init__(data, choice_temperature, seed)
        self._merits, self._candidates = merits, candidates
        self._sides = dict[str, Side]()

    def utilities(self, judge: str, users: Sequence[str], captions: Sequence[str], images: Tensor) -> np.ndarray:
        """Style and statistics, and the merits as the judge's side sees them; none for captions of no concept."""
        liked = super().utilities(judge, users, captions, images)
        if judge == TASTE:
            return liked
        merits = self._pool.standardised(judge, self._side(judge).see(captions, images).merits)
        known = np.array([caption in self.contents for caption in captions])
        merits[~known, 0] = 0
        liked += (self._merits.weights(users, self._seed) * merits).sum(1)
        return liked

    def best_utilities(self, users: Sequence[str], captions: Sequence[str], shots: np.ndarray) -> np.ndarray:
        """Of the vendor's picture that the best guess at the person's taste would choose, by JUDGING."""
        real, people = self._real, self._people
        known = sorted(set(users))
        liked = self._pool.utilities(people.select(known), self._merits.weights(known, self._seed), JUDGING)
        concept = np.array([real.concepts.index(caption) for caption in captions])
        sets, own = np.unique(shots, axis=0, return_inverse=True)
        best = np.empty(len(users), np.int64)
        for number, (picked, other) in enumerate(self._chosen(sets)):
            best[own == number] = self._oracle.drawings_for(picked, other, concept[own == number])
        found: np.ndarray = liked[np.searchsorted(known, users), best]
        return found

    def _chosen(self, sets: np.ndarray) -> list[tuple[np.ndarray, np.ndarray]]:
        """Rows of the pool of the preferred and the other picture of each shot, for each of the sets of pair ids."""
        pairs, row = self._data.read_pairs(), {uid: number for number, uid in enumerate(self._pool.uids)}
        names = ("preferred", "dispreferred")
        images = [[row[image] for image in pairs[name].to_pylist()] for name in names]
        of_pair = dict(zip(stable_ids(pairs["pair_id"]).tolist(), zip(*images, strict=True), strict=True))
        chosen = [np.array([of_pair[pair] for pair in shots]) for shots in sets.tolist()]
        return [(both[:, 0], both[:, 1]) for both in chosen]

    def _side(self, name: str) -> Side:
        if name not in self._sides:
            self._sides[name] = Side(name, self._pool.concepts, self._pool.drawings)
        return self._sides[name]

    @cached_property
    def _pool(self) -> Pool:
        return read_pool(self._data.folder)

    @cached_property
    def _oracle(self) -> PoolOracle:
        people = self._people
        return PoolOracle(self._pool, people, self._merits, self._temperature, self._candidates, seed=self._seed)

    @cached_property
    def _real(self) -> RealPictures:
        pool, styles = self._pool, len(self._people.styles)
        first = len(pool.drawings)
        concepts = [*pool.concepts]
        index = {uid: divmod(row, styles) for row, uid in enumerate(pool.uids[:first])}
        shape = (len(concepts), styles)
        return RealPictures(
            concepts,
            index,
            pool.statistics[:first].reshape(*shape, -1),
            pool.drawings.reshape(*shape, *pool.drawings.shape[1:]),
        )
