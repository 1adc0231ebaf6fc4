"""From a picture to what a CLIP network sees: bytes on the CPU, then normalised numbers on the device.

B = batch, H, W = height and width.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cached_property
from typing import Any

import numpy as np
import torch
from open_clip.transform import MaybeToTensor, PreprocessCfg, image_transform_v2
from PIL import Image
from torch import Tensor


class Transform:
    """open_clip's transform for evaluation, in two parts.

    Args:
        config: size, resizing, mean and deviation.

    """

    def __init__(self, config: PreprocessCfg) -> None:
        self.config = config

    def preprocess(self, picture: Image.Image) -> np.ndarray:
        """A picture of any size and mode to (3, H, W) uint8 RGB."""
        for step in self._steps:
            picture = step(picture)
        return np.asarray(picture).transpose(2, 0, 1)

    def normalise(self, pixels: Tensor, device: torch.device, dtype: torch.dtype) -> Tensor:
        """Pixels (B, 3, H, W) in [0, 255] to what the network takes, on the device."""
        return normalise(pixels, self.config.mean, self.config.std, device, dtype)

    @cached_property
    def _steps(self) -> list[Callable[[Any], Any]]:
        steps = image_transform_v2(self.config, is_train=False).transforms
        return list(steps[: next(place for place, step in enumerate(steps) if isinstance(step, MaybeToTensor))])


def normalise(
    pixels: Tensor, mean: Sequence[float], deviation: Sequence[float], device: torch.device, dtype: torch.dtype
) -> Tensor:
    """Pixels (B, 3, H, W) in [0, 255] to (x / 255 - mean) / deviation, computed in fp32 on the device."""
    pixels = pixels.to(device).float() / 255
    centred = pixels - torch.tensor(mean, device=device)[:, None, None]
    return (centred / torch.tensor(deviation, device=device)[:, None, None]).to(dtype)
