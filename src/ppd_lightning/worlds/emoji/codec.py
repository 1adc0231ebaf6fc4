"""The codec of the embedded world: 3x64x64 pictures to 16x8x8 normalised latents and back.

B = batch, C = channels, H, W = height and width.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from diffusers import ConfigMixin, ModelMixin
from diffusers.configuration_utils import register_to_config
from torch import Tensor, nn
from torch.nn import functional as F


class EmojiCodec(ModelMixin, ConfigMixin):
    """A small convolutional auto-encoder, saved and loaded as diffusers models are.

    As in Stage C's EfficientNet encoder, the last layer of the encoder is a BatchNorm without weights, so latents have
    mean 0 and deviation 1 for each channel. While it trains, noise is added to the latents that the decoder sees, so
    that small errors of a sampler do not show.
    """

    @register_to_config
    def __init__(
        self,
        latent_channels: int = 16,
        fine_channels: int = 96,
        coarse_channels: int = 192,
        encoder_blocks: tuple[int, int] = (1, 2),
        decoder_blocks: tuple[int, int] = (4, 2),
        latent_noise: float = 0.1,
    ) -> None:
        super().__init__()
        fine, coarse = fine_channels, coarse_channels
        self.latent_noise = latent_noise
        self.encoder = nn.Sequential(
            nn.PixelUnshuffle(4),
            nn.Conv2d(48, fine, 3, padding=1),
            *[_Block(fine) for _ in range(encoder_blocks[0])],
            nn.Conv2d(fine, coarse, 2, stride=2),
            *[_Block(coarse) for _ in range(encoder_blocks[1])],
            nn.Conv2d(coarse, latent_channels, 1, bias=False),
            nn.BatchNorm2d(latent_channels, affine=False, momentum=0.01),
        )
        self.decoder = nn.Sequential(
            nn.Conv2d(latent_channels, coarse, 3, padding=1),
            *[_Block(coarse) for _ in range(decoder_blocks[0])],
            nn.Conv2d(coarse, 4 * fine, 1),
            nn.PixelShuffle(2),
            *[_Block(fine) for _ in range(decoder_blocks[1])],
            nn.Conv2d(fine, 48, 3, padding=1),
            nn.PixelShuffle(4),
        )

    def encode(self, images: Tensor) -> Tensor:
        """Images (B, 3, 8H, 8W) float in [0, 1] to latents (B, 16, H, W)."""
        latents: Tensor = self.encoder(2 * images - 1)
        return latents

    def preview(self, latents: Tensor) -> Tensor:
        """Latents (B, 16, H, W) to images (B, 3, 8H, 8W) float in [0, 1]."""
        return self._paint(latents).clamp(0, 1)

    def decode(
        self, latents: Tensor, conditions: Mapping[str, Tensor], generators: Sequence[torch.Generator]
    ) -> Tensor:
        """As `preview`: this decoder needs neither text nor noise."""
        return self.preview(latents)

    def forward(self, images: Tensor) -> Tensor:
        """Reconstructions, unclamped; with noise on the latents while training."""
        latents = self.encode(images)
        if self.training:
            latents = latents + self.latent_noise * torch.randn_like(latents)
        return self._paint(latents)

    def _paint(self, latents: Tensor) -> Tensor:
        painted: Tensor = self.decoder(latents)
        return (painted + 1) / 2


class _Block(nn.Module):
    """Depthwise 3x3 convolution and a pointwise MLP around a residual (ConvNeXt's block)."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.depthwise = nn.Conv2d(channels, channels, 3, padding=1, groups=channels)
        self.norm = nn.LayerNorm(channels)
        self.wide = nn.Linear(channels, 4 * channels)
        self.narrow = nn.Linear(4 * channels, channels)

    def forward(self, features: Tensor) -> Tensor:
        inner: Tensor = self.norm(self.depthwise(features).permute(0, 2, 3, 1))
        inner = self.narrow(F.gelu(self.wide(inner)))
        return features + inner.permute(0, 3, 1, 2)
