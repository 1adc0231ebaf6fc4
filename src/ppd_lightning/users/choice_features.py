"""Vectors of choices that are not in the data, by the features of their pictures.

N = pictures, F = features, R = people, S = their choices, E = width of a vector.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from ppd_lightning.data.pictures import Square
from ppd_lightning.users.discriminants import PrincipalAxes, describe_choices, projected
from ppd_lightning.users.new_choices import NewChoice

PictureEncoder = Callable[[Sequence[Image.Image]], np.ndarray]
"""N pictures of any size and mode to features (N, F)."""

AT_ONCE = 16
"""Images that an encoder sees at once."""


def moments(maps: Tensor) -> Tensor:
    """Mean and deviation over space, (B, C, H, W) to (B, 2 C)."""
    return torch.cat([maps.mean((2, 3)), maps.std((2, 3), correction=0)], dim=1)


def in_blocks(encode: Callable[[Tensor], Tensor], images: Tensor) -> np.ndarray:
    """Features (N, F) of images (N, 3, H, W), each to the same bits beside whichever others.

    Convolutions round by the size of their batch, so it is always `AT_ONCE`, filled with black. They also round by the
    number of threads and the kind of CPU: by some 1e-6 of a feature.
    """
    parts = []
    for begin in range(0, len(images), AT_ONCE):
        block = images[begin : begin + AT_ONCE]
        filled = torch.cat([block, block.new_zeros(AT_ONCE - len(block), *block.shape[1:])])
        parts.append(encode(filled)[: len(block)].numpy())
    return np.concatenate(parts)


def encode_pictures(encode: Callable[[Tensor], Tensor], size: int, pictures: Sequence[Image.Image]) -> np.ndarray:
    """Features (N, F) of pictures of any size and mode, as `shot_features.encode_images` has them of the same pictures.

    Args:
        encode: images (B, 3, size, size) float in [0, 1] to features (B, F).
    """
    pixels = np.stack([Square(size)(picture) for picture in pictures])
    return in_blocks(encode, torch.from_numpy(pixels).float() / 255)


def on_axes(vectors: np.ndarray, axes: np.ndarray | None) -> np.ndarray:
    """Vectors (R, F) on axes (F, E), or as they are, where there are none."""
    return vectors.astype(np.float64) if axes is None else projected(vectors, axes)


def features_of_new(
    encode: PictureEncoder, fitted: Mapping[str, np.ndarray], choices: Sequence[NewChoice]
) -> np.ndarray:
    """Features (S, 2, F) of both pictures of each choice, the preferred one first; on principal axes, if any."""
    seen = encode([picture for one in choices for picture in (one.preferred, one.other)])
    if "axes" in fitted:
        seen = PrincipalAxes(fitted["mean"], fitted["deviation"], fitted["axes"]).components(seen)
    return seen.reshape(-1, 2, seen.shape[1])


def vectors_of_new(
    encode: PictureEncoder, fitted: Mapping[str, np.ndarray], people: Sequence[Sequence[NewChoice]]
) -> np.ndarray:
    """As `shot_features.features_of_sets`: the choices of a person are one set, (R, E).

    Args:
        fitted: mean, deviation and axes (`PrincipalAxes`) of features of images, and discriminants (2 F, E) of people;
            either may be absent.
    """
    sides = features_of_new(encode, fitted, [one for own in people for one in own])
    parts, begin = [], 0
    for own in people:
        liked, others = sides[begin : begin + len(own)].swapaxes(0, 1)
        parts.append(on_axes(describe_choices(liked, others)[None], fitted.get("discriminants")))
        begin += len(own)
    return np.concatenate(parts)
