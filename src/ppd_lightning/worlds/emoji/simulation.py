"""The emoji world as a `data.simulation.Simulation`: its people's hidden tastes, the judges, and the oracle.

N = images, S = styles, J = image statistics.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property

import numpy as np
from torch import Tensor

from ppd_lightning.data.pairs import stable_ids
from ppd_lightning.data.prepared import PreparedData
from ppd_lightning.data.splits import choose_count
from ppd_lightning.rewards.image_statistics import image_statistics
from ppd_lightning.worlds.emoji.judges import load_judge
from ppd_lightning.worlds.emoji.oracle import Oracle
from ppd_lightning.worlds.emoji.people import People, read_people, utilities
from ppd_lightning.worlds.emoji.real_pictures import RealPictures, read_real_pictures


class EmojiSimulation:
    """See `data.simulation.Simulation`; what is hidden is read when it is first asked for.

    Args:
        data: the prepared world.
        choice_temperature: scale of the Gumbel noise in a choice.
        seed: that drew the people.

    Raises (its methods):
        UserError: the data are not prepared, or a judge's file is missing.
    """

    judges = ("pixels", "statistics")

    def __init__(self, data: PreparedData, choice_temperature: float, seed: int) -> None:
        self._data, self._temperature, self._seed = data, choice_temperature, seed

    @cached_property
    def contents(self) -> frozenset[str]:
        """The world's concepts."""
        return frozenset(self._concepts)

    def utilities(self, judge: str, users: Sequence[str], images: Tensor) -> np.ndarray:
        """The judge says in which style an image is drawn; its statistics are measured."""
        return self._own(users, load_judge(judge).probabilities(images).numpy(), image_statistics(images).numpy())

    def best_utilities(self, users: Sequence[str], captions: Sequence[str], shots: np.ndarray) -> np.ndarray:
        """Of the real picture that the best guess at the person's taste would choose."""
        real, people = self._real, self._people
        oracle = Oracle(real.statistics, people.styles, people.statistics, self._temperature, seed=self._seed)
        concept = np.array([real.concepts.index(caption) for caption in captions])
        sets, own = np.unique(shots, axis=0, return_inverse=True)
        style = np.empty(len(users), np.int64)
        for number, preferred in enumerate(self._preferred(sets)):
            style[own == number] = oracle.styles_for(preferred[:, 0], preferred[:, 1], concept[own == number])
        return self._own(users, np.eye(len(people.styles))[style], real.statistics[concept, style])

    def recognised(self, captions: Sequence[str], images: Tensor) -> np.ndarray:
        """Whether the judge of concepts takes an image for its own rather than another of the world."""
        judge = load_judge("concepts")
        columns = [judge.labels.index(concept) for concept in self._concepts]
        guessed = judge.probabilities(images)[:, columns].argmax(1).numpy()
        right: np.ndarray = guessed == np.array([self._concepts.index(caption) for caption in captions])
        return right

    def representatives(self, users: Sequence[str]) -> list[tuple[str, str]]:
        """A person for each favourite style; by hash."""
        people = self._people.select(users)
        favourites, chosen = people.style_weights.argmax(1), list[tuple[str, str]]()
        for number, style in enumerate(people.styles):
            alike = [user for user, favourite in zip(people.ids, favourites, strict=True) if favourite == number]
            chosen += [(user, f"person {user}\nlikes {style}") for user in choose_count("demo", alike, 1)]
        return chosen

    def _own(self, users: Sequence[str], styles: np.ndarray, statistics: np.ndarray) -> np.ndarray:
        """Utilities (N,) of images with style probabilities (N, S) and statistics (N, J), each to its own person."""
        known = sorted(set(users))
        rows = np.searchsorted(known, users)
        liked = utilities(self._people.select(known), styles, statistics)
        own: np.ndarray = liked[rows, np.arange(len(users))]
        return own

    def _preferred(self, sets: np.ndarray) -> list[np.ndarray]:
        """Concept and style (S, 2) of the preferred picture of each shot, for each of the sets of pair ids (R, S)."""
        pairs = self._data.read_pairs()
        preferred = dict(zip(stable_ids(pairs["pair_id"]).tolist(), pairs["preferred"].to_pylist(), strict=True))
        return [np.array([self._real.index[preferred[pair]] for pair in shots]) for shots in sets.tolist()]

    @cached_property
    def _people(self) -> People:
        return read_people(self._data.folder / "people.json")

    @cached_property
    def _real(self) -> RealPictures:
        return read_real_pictures(self._data, self._people.styles)

    @cached_property
    def _concepts(self) -> list[str]:
        return self._data.captions(held_out=True) + self._data.captions(held_out=False)
