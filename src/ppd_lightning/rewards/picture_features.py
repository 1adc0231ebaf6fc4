"""What a vision tower sees of pictures in memory.

B = batch, H, W = height and width of what the tower sees, N = pictures.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import numpy as np
import torch
from PIL import Image
from torch import Tensor

BATCH = 32
"""Pictures that are encoded at once."""


class Tower(Protocol):
    """A vision tower with its preprocessing; rewards are such."""

    def preprocess(self, picture: Image.Image) -> np.ndarray:
        """A picture of any size and mode to (3, H, W) RGB in [0, 255]; a UserError where it cannot be seen."""

    def image_features(self, pixels: Tensor) -> Tensor:
        """Preprocessed pictures (B, 3, H, W) to features (B, ...) float32."""


@torch.no_grad()
def features_of_pictures(tower: Tower, pictures: Sequence[Image.Image]) -> np.ndarray:
    """What a vision tower sees of pictures that are not in a source, (N, F) float32.

    Raises:
        UserError: a picture cannot be seen.
    """
    parts = []
    for begin in range(0, len(pictures), BATCH):
        pixels = np.stack([tower.preprocess(picture) for picture in pictures[begin : begin + BATCH]])
        parts.append(tower.image_features(torch.from_numpy(pixels)).float().cpu().numpy())
    features: np.ndarray = np.concatenate(parts)
    return features.reshape(len(pictures), -1)
