"""Rewards that need no weights: image statistics that people really differ in (`image_statistics` has the formulas).

B = batch, S = side of what is seen.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping, Sequence

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from ppd_lightning.data.pictures import Square
from ppd_lightning.errors import UserError
from ppd_lightning.rewards import image_statistics
from ppd_lightning.rewards.readable import readable
from ppd_lightning.rewards.reward import Reward

SMALLEST = 3
"""Pixels of a side: the filters of clutter and sharpness are as large."""


class Statistic(Reward):
    """One number of the pixels, whatever the caption; its feature (B, 1) is the score.

    Args:
        size: side in pixels of what is seen, the shortest side brought to it and the middle cut out; numbers of images
            that are seen at different sizes do not compare.

    Raises:
        UserError: size is too small.
    """

    needs_captions = False

    def __init__(
        self,
        name: str,
        weights: Mapping[str, str],
        *,
        device: torch.device | str = "cpu",
        dtype: torch.dtype = torch.float32,
        size: int,
    ) -> None:
        super().__init__(name, weights, device=device, dtype=dtype, size=size)
        if not isinstance(size, int) or size < SMALLEST:
            raise UserError(
                f"rewards.{name}.options.size: must be a whole number of pixels, {SMALLEST} or more, not {size!r}"
            )
        self.square = Square(size)

    @abstractmethod
    def measure(self, images: Tensor) -> Tensor:
        """Images (B, 3, S, S) float in [0, 1] to numbers (B,)."""

    def preprocess(self, picture: Image.Image) -> np.ndarray:
        """The middle square at `size` pixels."""
        return self.square(readable(picture))

    def image_features(self, pixels: Tensor) -> Tensor:
        """The numbers, (B, 1)."""
        return self.measure(pixels.to(self.device).float() / 255)[:, None]

    def scores(self, features: Tensor, captions: Sequence[str]) -> Tensor:
        """The numbers, (B,)."""
        return features.to(self.device)[:, 0]


class Colourfulness(Statistic):
    """Hasler and Suesstrunk's M3."""

    def measure(self, images: Tensor) -> Tensor:
        """See `image_statistics.colourfulness`."""
        return image_statistics.colourfulness(images)


class Brightness(Statistic):
    """Mean luma."""

    def measure(self, images: Tensor) -> Tensor:
        """See `image_statistics.brightness`."""
        return image_statistics.brightness(images)


class Clutter(Statistic):
    """Density of edges."""

    def measure(self, images: Tensor) -> Tensor:
        """See `image_statistics.clutter`."""
        return image_statistics.clutter(images)


class Sharpness(Statistic):
    """Variance of the Laplacian."""

    def measure(self, images: Tensor) -> Tensor:
        """See `image_statistics.sharpness`."""
        return image_statistics.sharpness(images)


class Symmetry(Statistic):
    """Likeness of the two halves."""

    def measure(self, images: Tensor) -> Tensor:
        """See `image_statistics.symmetry`."""
        return image_statistics.symmetry(images)
