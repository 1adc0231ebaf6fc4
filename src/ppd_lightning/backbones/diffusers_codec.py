"""The codec of latent diffusion models: diffusers' `AutoencoderKL`, with latents as the network reads them.

`ppd export` carries this file. B = batch, C = channels of the latents, S = pixels to one position of them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from diffusers import AutoencoderKL
from torch import Tensor
from torch.nn import functional as F

PREVIEW_SIDE = 256
"""Previews are made smaller until their sides are below twice this many pixels."""


class KLCodec:
    """Images to latents and back. All of it is float32, for Stable Diffusion XL's overflows in fp16.

    Latents are (z - shift_factor) scaling_factor of the autoencoder's z. Of its posterior the mean is taken, not a
    sample: the same image has the same latents. Images are computed one by one, so that those of 1024 pixels need no
    more memory in a batch, and none depends on the others.

    Args:
        autoencoder: whose configuration has `scaling_factor` and perhaps `shift_factor`.
    """

    def __init__(self, autoencoder: AutoencoderKL) -> None:
        self.autoencoder = autoencoder.float().eval().requires_grad_(False)
        self.stride: int = 2 ** (len(autoencoder.config.block_out_channels) - 1)
        self.scale: float = autoencoder.config.scaling_factor
        self.shift: float = autoencoder.config.shift_factor or 0.0

    @torch.no_grad()
    def encode(self, images: Tensor) -> Tensor:
        """Images (B, 3, H, W) float in [0, 1] to latents (B, C, H/S, W/S) float32.

        Raises:
            ValueError: not images of floats, or off the grid of S pixels.
        """
        if images.ndim != 4 or images.shape[1] != 3 or not images.is_floating_point():
            raise ValueError(
                f"images must be floats of shape (B, 3, H, W), got {images.dtype} of shape {tuple(images.shape)}"
            )
        height, width = images.shape[2:]
        if height % self.stride or width % self.stride or not height or not width:
            raise ValueError(
                f"images must be a multiple of {self.stride} pixels high and wide, got {height}x{width}; "
                "resize or crop them"
            )
        scaled = (2 * images.float() - 1).split(1)
        means = [self.autoencoder.encode(image, return_dict=False)[0].mode() for image in scaled]
        return (torch.cat(means) - self.shift) * self.scale

    @torch.no_grad()
    def images(self, latents: Tensor) -> Tensor:
        """Latents (B, C, h, w) to images (B, 3, S h, S w) float32 in [0, 1]."""
        raw = (latents.float() / self.scale + self.shift).split(1)
        images = torch.cat([self.autoencoder.decode(one, return_dict=False)[0] for one in raw])
        return (images / 2 + 0.5).clamp(0, 1)

    def preview(self, latents: Tensor) -> Tensor:
        """Latents (B, C, h, w) to images (B, 3, H', W') in [0, 1]: decoded, and shrunk to what a sheet can show."""
        images = self.images(latents)
        factor = max(1, min(images.shape[2:]) // PREVIEW_SIDE)
        return F.avg_pool2d(images, factor)

    def decode(
        self, latents: Tensor, conditions: Mapping[str, Tensor], generators: Sequence[torch.Generator]
    ) -> Tensor:
        """Latents (B, C, h, w) to images (B, 3, S h, S w) float32 in [0, 1]; needs no captions and draws no noise."""
        return self.images(latents)
