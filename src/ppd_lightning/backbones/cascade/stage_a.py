"""Stage A of Stable Cascade, the half that decodes: a small convolutional network from its latents to pixels.

B = batch, H, W = height and width of the latents.
"""

from __future__ import annotations

from itertools import pairwise

import torch
from diffusers import ConfigMixin, ModelMixin
from diffusers.configuration_utils import register_to_config
from torch import Tensor, nn

ENCODER = ("in_block.", "down_blocks.", "vquantizer.")
"""How the names of weights in the released folder begin that decoding does not need."""


class StageADecoder(ModelMixin, ConfigMixin):
    """Latents (B, 4, H, W) to images (B, 3, 4H, 4W) for two levels and a factor of two, unclamped.

    Its names of weights and of settings are those of the released vqgan/ folder; the settings of the encoder are taken
    and not used. Source: diffusers' `PaellaVQModel.decode`, where the codebook is not used either.
    """

    _keys_to_ignore_on_load_unexpected = [rf"^{begin[:-1]}\." for begin in ENCODER]

    @register_to_config
    def __init__(
        self,
        in_channels: int = 3,
        out_channels: int = 3,
        up_down_scale_factor: int = 2,
        levels: int = 2,
        bottleneck_blocks: int = 12,
        embed_dim: int = 384,
        latent_channels: int = 4,
        num_vq_embeddings: int = 8192,
        scale_factor: float = 0.3764,
    ) -> None:
        super().__init__()
        self.scale_factor = scale_factor
        widths = [embed_dim // 2**level for level in range(levels)]
        layers: list[nn.Module] = [nn.Sequential(nn.Conv2d(latent_channels, widths[0], 1))]
        layers += [_MixingBlock(widths[0]) for _ in range(bottleneck_blocks)]
        for before, after in pairwise(widths):
            layers += [nn.ConvTranspose2d(before, after, 4, stride=2, padding=1), _MixingBlock(after)]
        self.up_blocks = nn.Sequential(*layers)
        self.out_block = nn.Sequential(
            nn.Conv2d(widths[-1], out_channels * up_down_scale_factor**2, 1), nn.PixelShuffle(up_down_scale_factor)
        )

    def forward(self, latents: Tensor) -> Tensor:
        """Latents (B, 4, H, W), which are Stage B's times `scale_factor`, to images (B, 3, 4H, 4W), unclamped."""
        images: Tensor = self.out_block(self.up_blocks(latents))
        return images


class _MixingBlock(nn.Module):
    """Two residuals, a depthwise 3x3 convolution and a pointwise MLP, each between a learnt affine map and a scale."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.depthwise = nn.Sequential(nn.ReplicationPad2d(1), nn.Conv2d(channels, channels, 3, groups=channels))
        self.channelwise = nn.Sequential(
            nn.Linear(channels, 4 * channels), nn.GELU(), nn.Linear(4 * channels, channels)
        )
        self.norm = nn.LayerNorm(channels, elementwise_affine=False, eps=1e-6)
        self.gammas = nn.Parameter(torch.zeros(6))

    def forward(self, features: Tensor) -> Tensor:
        scale, shift, weight, wide_scale, wide_shift, wide_weight = self.gammas.unbind()
        spatial = self._normed(features) * (1 + scale) + shift
        features = features + self.depthwise(spatial) * weight
        mixed = self._normed(features) * (1 + wide_scale) + wide_shift
        mixed = self.channelwise(mixed.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)
        out: Tensor = features + mixed * wide_weight
        return out

    def _normed(self, features: Tensor) -> Tensor:
        normed: Tensor = self.norm(features.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)
        return normed


def decoder_weights(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """The weights of the released file without those that decoding does not need."""
    return {name: tensor for name, tensor in tensors.items() if not name.startswith(ENCODER)}
