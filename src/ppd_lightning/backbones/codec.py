"""What stands between images and Stage C's latents, whichever network does it.

B = batch, H, W = height and width of an image, h, w = those of its latent, C' = pooled text width.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import torch
from torch import Tensor


class Codec(Protocol):
    """Images to Stage C latents and back.

    stride: pixels of an encoded image to one latent position, in each direction.
    """

    stride: int

    def encode(self, images: Tensor) -> Tensor:
        """Images (B, 3, H, W) float in [0, 1] to latents (B, 16, H / stride, W / stride)."""

    def preview(self, latents: Tensor) -> Tensor:
        """Latents (B, 16, h, w) to small images (B, 3, H', W') float in [0, 1], at little cost."""

    def decode(self, latents: Tensor, text_pooled: Tensor, generators: Sequence[torch.Generator]) -> Tensor:
        """Latents (B, 16, h, w) to full images (B, 3, H'', W'') float in [0, 1].

        Args:
            latents: what the prior drew.
            text_pooled: (B, 1, C') pooled text states of the captions.
            generators: of the CPU, one for each image, where decoding draws noise.
        """
