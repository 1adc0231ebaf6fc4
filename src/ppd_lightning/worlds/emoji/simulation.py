"""The emoji world as a `data.simulation.Simulation`: its people's hidden tastes, the judges, and the oracle.

N = images, K = concepts, S = styles, J = image statistics, F = features of the judge of concepts.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cached_property

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from ppd_lightning.data.pairs import stable_ids
from ppd_lightning.data.prepared import PreparedData
from ppd_lightning.data.simulation import RECOGNISED
from ppd_lightning.data.splits import choose_count
from ppd_lightning.rewards.image_statistics import image_statistics
from ppd_lightning.worlds.emoji.judges import Judge, load_judge
from ppd_lightning.worlds.emoji.oracle import Oracle
from ppd_lightning.worlds.emoji.people import People, read_people, utilities
from ppd_lightning.worlds.emoji.real_pictures import RealPictures, read_real_pictures

TASTE = "taste"
"""The judge who minds style and statistics alone, in worlds where people mind more."""


class EmojiSimulation:
    """See `data.simulation.Simulation`; what is hidden is read when it is first asked for.

    Args:
        data: the prepared world.
        choice_temperature: scale of the Gumbel noise in a choice.
        seed: that drew the people.

    Raises (its methods):
        UserError: the data are not prepared, or a judge's file is missing.
    """

    judges = ("pixels", "statistics", TASTE)

    def __init__(self, data: PreparedData, choice_temperature: float, seed: int) -> None:
        self._data, self._temperature, self._seed = data, choice_temperature, seed

    @cached_property
    def contents(self) -> frozenset[str]:
        """The world's concepts."""
        return frozenset(self._concepts)

    def utilities(self, judge: str, users: Sequence[str], captions: Sequence[str], images: Tensor) -> np.ndarray:
        """The judge says in which style an image is drawn; its statistics are measured."""
        styles = load_judge("pixels" if judge == TASTE else judge).probabilities(images)
        return self._own(users, styles.numpy(), image_statistics(images).numpy())

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

    def content(self, captions: Sequence[str], images: Tensor) -> Mapping[str, np.ndarray]:
        """What the judge of concepts sees.

        RECOGNISED: it takes an image for its own rather than another of the world. `_probability`: that it gives to its
        own, of those of the world. `_likeness`: the cosine of its features of the image and of the vendors' picture of
        the concept that is most alike.
        """
        probabilities, features = self._concept_judge.seen(images)
        columns = [self._concept_judge.labels.index(concept) for concept in self._concepts]
        own = torch.tensor([self._concepts.index(caption) for caption in captions])
        among = probabilities[:, columns]
        share = among.gather(1, own[:, None])[:, 0] / among.sum(1)
        real = torch.tensor([self._real.concepts.index(caption) for caption in captions])
        likeness = (F.normalize(features, dim=1)[:, None] * self._drawn_features[real]).sum(2).amax(1)
        return {
            RECOGNISED: (among.argmax(1) == own).numpy(),
            f"{RECOGNISED}_probability": share.double().numpy(),
            f"{RECOGNISED}_likeness": likeness.clamp(0, 1).double().numpy(),
        }

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
    def _concept_judge(self) -> Judge:
        return load_judge("concepts")

    @cached_property
    def _drawn_features(self) -> Tensor:
        """Of the vendors' pictures, (K, S, F), each of length 1."""
        pixels = torch.from_numpy(self._real.pixels)
        _, features = self._concept_judge.seen(pixels.flatten(0, 1).float() / 255)
        return F.normalize(features, dim=1).view(*pixels.shape[:2], -1)

    @cached_property
    def _concepts(self) -> list[str]:
        return self._data.captions(held_out=True) + self._data.captions(held_out=False)
