"""New simulated people of the embedded world who answer pairs that are shown to them.

P = people, N = pairs, K = concepts, S = styles.
"""

from __future__ import annotations

import io
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from ppd_lightning.config.finished import config_of
from ppd_lightning.config.workspace import Workspace
from ppd_lightning.worlds.emoji.people import People, make_people, read_people, world_utilities
from ppd_lightning.worlds.emoji.real_pictures import read_real_pictures

Pair = tuple[str, Image.Image, Image.Image]

POOL, MANY = 200, 64
"""Pairs that can be shown, and further ones whose answers make the vector of many choices."""


@dataclass(frozen=True)
class Newcomers:
    """people: with their hidden tastes. pairs: POOL + MANY of training captions. first: (P, N) bool, their answers."""

    people: People
    pairs: list[Pair]
    first: np.ndarray

    def choice(self, person: int, pair: int) -> Pair:
        """A pair as the person answered it: caption, preferred picture, other picture."""
        caption, one, other = self.pairs[pair]
        return (caption, one, other) if self.first[person, pair] else (caption, other, one)


def newcomers(run: Path, name: str, count: int) -> Newcomers:
    """People who are not in the run's data, and their answers to two pictures of a concept drawn at random.

    They answer by their utility and Gumbel noise, as the world's people choose.

    Args:
        name: of these people; others have other tastes.
    """
    workspace = Workspace(config_of(run))
    data, settings = workspace.data, workspace.config.data
    world = read_people(data.folder / "people.json")
    real = read_real_pictures(data, world.styles)
    ids = [f"{name} {number + 1}" for number in range(count)]
    people = make_people(ids, settings.seed, world.styles, world.statistics, real.statistics)
    pictures = {
        real.index[image]: Image.open(io.BytesIO(content)).convert("RGB")
        for image, content in data.stored_images(data.images_table())
        if content is not None
    }
    generator = np.random.default_rng([0, *name.encode()])
    trained = [real.concepts.index(caption) for caption in data.captions(held_out=False)]
    every = [(k, i, j) for k in trained for i in range(len(world.styles)) for j in range(i)]
    shown = np.array(every)[generator.permutation(len(every))[: POOL + MANY]]
    turned = generator.random(len(shown)) < 0.5
    shown[turned] = shown[turned][:, [0, 2, 1]]
    liked = world_utilities(people, real.statistics)[:, shown[:, :1], shown[:, 1:]]  # (P, N, 2)
    liked = liked + settings.choice_temperature * generator.gumbel(size=liked.shape)
    pairs = [(real.concepts[k], pictures[k, i], pictures[k, j]) for k, i, j in shown.tolist()]
    return Newcomers(people, pairs, liked[:, :, 0] > liked[:, :, 1])
