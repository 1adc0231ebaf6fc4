"""Human Preference Score v2 and v2.1: open_clip's ViT-H-14, fine-tuned on people's choices.

Source: hpsv2 1.2.0, `img_score.py` and `src/open_clip/transform.py`; Wu et al., arXiv 2306.09341.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import torch
from PIL import Image
from torchvision.transforms.functional import InterpolationMode, pad, pil_to_tensor, resize

from ppd_lightning.rewards.open_clip import OpenClipReward
from ppd_lightning.rewards.readable import readable
from ppd_lightning.rewards.sources import Role


def _role(file: str) -> Role:
    return Role(((file,),), "xswu/HPSv2 on the model hub", "3.9 GB", "Apache-2.0", single=True)


class HPSv2Reward(OpenClipReward):
    """100 cos(image, caption) of HPSv2's network, which sees the whole picture, its longest side at 224 pixels.

    Args:
        architecture: of the file.
        antialias: whether a picture is smoothed before it is made smaller. hpsv2 leaves that to torchvision, which does
            it since 0.17; older published scores were made without.
    """

    roles = {"model": _role("HPS_v2_compressed.pt")}
    pixel_type = np.float32

    def __init__(
        self,
        name: str,
        weights: Mapping[str, str],
        *,
        device: torch.device | str = "cpu",
        dtype: torch.dtype = torch.float32,
        architecture: str = "ViT-H-14",
        antialias: bool = True,
    ) -> None:
        super().__init__(name, weights, device=device, dtype=dtype, architecture=architecture, antialias=antialias)
        self.antialias = antialias

    def preprocess(self, picture: Image.Image) -> np.ndarray:
        """See Reward. The order is hpsv2's: to floats first, then resized without clamping, then zeros around."""
        side = self.model.transform.config.size
        pixels = pil_to_tensor(readable(picture).convert("RGB")).float()
        height, width = pixels.shape[1:]
        scale = side / max(height, width)
        if scale != 1:
            size = [round(height * scale), round(width * scale)]
            pixels = resize(pixels, size, InterpolationMode.BICUBIC, antialias=self.antialias)
        below, right = side - pixels.shape[1], side - pixels.shape[2]
        padded: np.ndarray = pad(pixels, [right // 2, below // 2, right - right // 2, below - below // 2]).numpy()
        return padded


class HPSv21Reward(HPSv2Reward):
    """HPSv2.1: the same network trained on more and better choices; its scores are on another scale."""

    roles = {"model": _role("HPS_v2.1_compressed.pt")}
