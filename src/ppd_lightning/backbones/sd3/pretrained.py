"""A transformer of Stable Diffusion 3's kind, opened by diffusers alone: `ppd export` carries this.

B = batch.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Any

import torch
from diffusers import SD3Transformer2DModel
from torch import Tensor, nn

from ppd_lightning.backbones.interfaces import Codec, Conditions, Decoder, TextEncoder
from ppd_lightning.backbones.sd3.user_sites import attach_user_branch
from ppd_lightning.backbones.sd3.velocity import predict_velocity
from ppd_lightning.backbones.user_branch import UserBranch
from ppd_lightning.diffusion.deterministic import DeterministicSampler
from ppd_lightning.diffusion.straight import StraightPath


class PretrainedTransformer(ABC):
    """A base to draw with.

    Args:
        base: folder or hub name with the network and the text encoders.
        codec: the same with the codec; None is `base`.
        variant: "bf16" or "fp16", where the weights are in *.bf16.safetensors or *.fp16.safetensors.
        network: the network's folder.
        shift: of the path.
    """

    stride: int
    latent_channels: int
    decoder_parts: Mapping[Decoder, str] = {"full": "decoder"}

    def __init__(self, base: str, codec: str | None, variant: str | None, *, network: str, shift: float) -> None:
        self.base, self.codec, self.variant, self.network = base, codec or base, variant, network
        self.path = StraightPath(shift)

    def load_network(self, dtype: torch.dtype) -> SD3Transformer2DModel:
        """The network in evaluation mode."""
        return self._pretrained(SD3Transformer2DModel, self.base, self.network, torch_dtype=dtype)

    def attach(self, network: nn.Module, embedding_dim: int, **settings: Any) -> UserBranch:
        """Put a new user branch on the network; settings as of `UserBranch`."""
        return attach_user_branch(network, embedding_dim, **settings)

    def latent_shape(self, image_size: int) -> tuple[int, ...]:
        """The shape of one image's latents."""
        return self.latent_channels, image_size // self.stride, image_size // self.stride

    def predict(self, network: nn.Module, noised: Tensor, t: Tensor, conditions: Conditions) -> Tensor:
        """The predicted velocity (B, ...) float32."""
        text = self.text_of(network, conditions)
        return predict_velocity(network, noised, self.path.network_time(t), text, conditions["text_pooled"])

    def text_of(self, network: nn.Module, conditions: Conditions) -> Tensor:
        """The text that the network reads."""
        return conditions["text"]

    def null_text(self, text: TextEncoder) -> Mapping[str, Tensor]:
        """The states of the empty caption."""
        return text([""])

    def sampler(self) -> DeterministicSampler:
        """A new sampler."""
        return DeterministicSampler(self.path)

    @abstractmethod
    def load_text(self, device: torch.device | str) -> TextEncoder:
        """The text encoders with their tokenizers."""

    @abstractmethod
    def load_codec(self, device: torch.device | str, *needs: str) -> Codec:
        """The codec that decodes in full."""

    def _pretrained(self, kind: Any, path: str, folder: str, **settings: Any) -> Any:
        return kind.from_pretrained(path, subfolder=folder, variant=self.variant, **settings)
