"""Features of the images of a person's choices, gathered for sets of shots.

N = images, F = features, R = sets of shots, S = shots of a set, E = width of an embedding.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import torch
from torch import Tensor

from ppd_lightning.data.images import Square
from ppd_lightning.data.prepared import PreparedData
from ppd_lightning.errors import UserError
from ppd_lightning.rewards.scoring import Scorer
from ppd_lightning.users.describing import Describing
from ppd_lightning.users.discriminants import describe_choices, discriminant_axes
from ppd_lightning.users.shot_sets import DESCRIBING, ShotSet, random_sets

BLOCK = 4096
"""Sets whose features are gathered at once."""


@dataclass(frozen=True)
class ImageFeatures:
    """Features (N, F) of images, by image id."""

    ids: pa.Array
    features: np.ndarray

    def rows(self, pairs: pa.Table, side: str) -> np.ndarray:
        """The row of that side's image of each pair in the features, (pairs,); -1 where it has none."""
        return np.asarray(pc.fill_null(pc.index_in(pairs[side].cast(pa.string()), value_set=self.ids), -1))


def encode_images(data: PreparedData, encode: Callable[[Tensor], Tensor]) -> ImageFeatures:
    """Features of every image that people may be described by: of none of the tests.

    Args:
        encode: images (B, 3, H, W) float in [0, 1] to features (B, F).
    """
    images, held_out = data.images_table(), data.captions(held_out=True)
    images = images.filter(pc.invert(pc.is_in(images["caption"], value_set=pa.array(held_out, pa.string()))))
    ids: list[str] = []
    parts: list[np.ndarray] = []
    for batch in data.read_images(images, [Square(data.image_size)]):
        if batch.ids:
            parts.append(encode(torch.from_numpy(batch.pixels[0]).float() / 255).numpy())
        ids += batch.ids
    return ImageFeatures(pa.array(ids, pa.string()), np.concatenate(parts))


def reward_features(scorer: Scorer, reward: str, pairs: pa.Table) -> ImageFeatures:
    """The stored features of every image of the pairs that describe people; an image that it cannot see has none.

    Args:
        reward: the name of one of the scorer's, by whose vision tower they are.

    Raises:
        UserError: its tower sees the caption too, so no features are stored.
    """
    describing = pairs.filter(pc.is_in(pairs["split"], pa.array(DESCRIBING)))
    sides = [describing[side].cast(pa.string()) for side in ("preferred", "dispreferred")]
    ids = pc.unique(pa.chunked_array([chunk for side in sides for chunk in side.chunks], pa.string()))
    features = scorer.features(reward, ids).reshape(len(ids), -1)
    seen = np.isfinite(features).all(1)
    return ImageFeatures(ids.filter(pa.array(seen)), features[seen])


def describe_by_features(
    using: Describing, pairs: pa.Table, sets: Sequence[ShotSet], images: ImageFeatures, components: int | None
) -> np.ndarray:
    """Vectors (R, E) float64 of sets of shots: `describe_choices`, and of that the directions in which users differ.

    The directions come from random sets of those who are trained on, whichever sets are described, so a set has the
    same vector beside whichever others.

    Args:
        components: how many directions; None leaves the 2 F features as they are.

    Raises:
        UserError: an image of a shot has no features.
    """
    sides = [images.rows(pairs, side) for side in ("preferred", "dispreferred")]

    def vectors(described: Sequence[ShotSet]) -> Iterator[np.ndarray]:
        for begin in range(0, len(described), BLOCK):
            block = described[begin : begin + BLOCK]
            preferred, dispreferred = (rows[np.array([one.pairs for one in block])] for rows in sides)
            absent = np.argwhere((preferred < 0) | (dispreferred < 0))
            if len(absent):
                pair = pairs["pair_id"][block[absent[0, 0]].pairs[absent[0, 1]]].as_py()
                raise UserError(
                    f"{using.data.source.root}: an image of the pair {pair}, which describes "
                    f"{block[absent[0, 0]].user}, is missing, damaged or nothing that can be seen; mend the source or "
                    "leave the pair out, and run `ppd prepare` again"
                )
            yield describe_choices(images.features, preferred, dispreferred)

    if components is None:
        return np.concatenate(list(vectors(sets)))
    seen = set(using.data.people()["seen"])
    trained = [one for one in random_sets(pairs, using.shots.n, using.shots.groupings) if one.user in seen]
    people = np.unique([one.user for one in trained], return_inverse=True)[1]
    axes = discriminant_axes(np.concatenate(list(vectors(trained))), people, components)
    return np.concatenate([block @ axes for block in vectors(sets)])
