"""What is seen of a person's choices: features of the images, gathered for sets of shots.

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

from ppd_lightning.config.schemas import Config
from ppd_lightning.data import prepared as layout
from ppd_lightning.data.images import Square, read_images
from ppd_lightning.errors import UserError
from ppd_lightning.users.discriminants import describe_choices, discriminant_axes
from ppd_lightning.users.shots import ShotSet, random_sets

BLOCK = 4096
"""Sets whose features are gathered at once."""


@dataclass(frozen=True)
class SeenImages:
    """Features (N, F) of images, by image id."""

    ids: pa.Array
    features: np.ndarray

    def rows(self, pairs: pa.Table, side: str) -> np.ndarray:
        """Where the image of that side of each pair is in the features, (pairs,); -1 where it is not."""
        return np.asarray(pc.fill_null(pc.index_in(pairs[side].cast(pa.string()), value_set=self.ids), -1))


def see_images(config: Config, encode: Callable[[Tensor], Tensor]) -> SeenImages:
    """Every image that people may be described by: none of those of the tests.

    Args:
        encode: images (B, 3, H, W) float in [0, 1] to features (B, F).
    """
    images, held_out = layout.read_images_table(config), layout.captions_of(config, held_out=True)
    images = images.filter(pc.invert(pc.is_in(images["caption"], value_set=pa.array(held_out, pa.string()))))
    ids: list[str] = []
    parts: list[np.ndarray] = []
    for batch in read_images(layout.source_folder(config), images, [Square(config.data.image_size)]):
        if batch.ids:
            parts.append(encode(torch.from_numpy(batch.pixels[0]).float() / 255).numpy())
        ids += batch.ids
    return SeenImages(pa.array(ids, pa.string()), np.concatenate(parts))


def describe_by_images(
    config: Config, pairs: pa.Table, sets: Sequence[ShotSet], images: SeenImages, components: int | None
) -> np.ndarray:
    """Vectors (R, E) float64 of sets of shots: `describe_choices`, and of that the directions in which users differ.

    The directions come from random sets of those who are trained on, whichever sets are described, so a set has the
    same vector beside whichever others.

    Args:
        components: how many directions; None leaves the 2 F features as they are.

    Raises:
        UserError: an image of a shot was not seen.
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
                    f"{layout.source_folder(config)}: an image of the pair {pair}, which describes "
                    f"{block[absent[0, 0]].user}, is missing, damaged or nothing that can be seen; mend the source or "
                    "leave the pair out, and run `ppd prepare` again"
                )
            yield describe_choices(images.features, preferred, dispreferred)

    if components is None:
        return np.concatenate(list(vectors(sets)))
    seen = set(layout.people_of(config)["seen"])
    trained = [one for one in random_sets(pairs, config.shots.n, config.shots.groupings) if one.user in seen]
    people = np.unique([one.user for one in trained], return_inverse=True)[1]
    axes = discriminant_axes(np.concatenate(list(vectors(trained))), people, components)
    return np.concatenate([block @ axes for block in vectors(sets)])
