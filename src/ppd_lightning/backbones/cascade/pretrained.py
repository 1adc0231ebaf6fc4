"""A released folder in Stable Cascade's layout, opened by diffusers and transformers alone: `ppd export` carries this.

B = batch.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Any

import torch
from diffusers import DDPMWuerstchenScheduler, StableCascadeUNet
from torch import Tensor, nn
from transformers import CLIPTextModelWithProjection, CLIPTokenizer

from ppd_lightning.backbones.cascade.prior import predict_noise
from ppd_lightning.backbones.cascade.sampler import DDPMSampler
from ppd_lightning.backbones.cascade.text import TextStates
from ppd_lightning.backbones.cascade.user_attention import attach_user_branch
from ppd_lightning.backbones.interfaces import Codec, Conditions, Decoder, TextEncoder
from ppd_lightning.backbones.user_branch import UserBranch


class PretrainedCascade(ABC):
    """A base to draw with.

    Args:
        base: folder or hub name with the network, text_encoder/, tokenizer/ and scheduler/.
        codec: the same with the codec; None is `base`.
        variant: "bf16", where the weights are in *.bf16.safetensors.
        network: the network's folder.
    """

    stride: int
    decoder_parts: Mapping[Decoder, str] = {"full": "decoder"}

    def __init__(self, base: str, codec: str | None, variant: str | None, *, network: str) -> None:
        self.base, self.codec, self.variant, self.network = base, codec or base, variant, network

    def load_network(self, dtype: torch.dtype) -> StableCascadeUNet:
        """The network in evaluation mode."""
        return self._pretrained(StableCascadeUNet, self.base, self.network, torch_dtype=dtype)

    def attach(self, network: nn.Module, embedding_dim: int, **settings: Any) -> UserBranch:
        """Put a new user branch on the network; settings as of `UserBranch`."""
        return attach_user_branch(network, embedding_dim, **settings)

    def latent_shape(self, image_size: int) -> tuple[int, ...]:
        """The shape of one image's latents."""
        return 16, image_size // self.stride, image_size // self.stride

    def predict(self, network: nn.Module, noised: Tensor, t: Tensor, conditions: Conditions) -> Tensor:
        """The predicted noise (B, 16, H, W) float32."""
        return predict_noise(network, noised, t, conditions["text"], conditions["text_pooled"])

    def null_text(self, text: TextEncoder) -> dict[str, Tensor]:
        """The states of the empty caption."""
        return text([""])

    def sampler(self) -> DDPMSampler:
        """A new sampler."""
        return DDPMSampler(DDPMWuerstchenScheduler.from_pretrained(self.base, subfolder="scheduler"))

    def load_text(self, device: torch.device | str) -> TextStates:
        """The text encoder with its tokenizer, in float32."""
        tokenizer = CLIPTokenizer.from_pretrained(self.base, subfolder="tokenizer")
        encoder = self._pretrained(CLIPTextModelWithProjection, self.base, "text_encoder", dtype=torch.float32)
        return TextStates(tokenizer, encoder.to(device))

    @abstractmethod
    def load_codec(self, device: torch.device | str, *needs: str) -> Codec:
        """The codec that decodes in full."""

    def _pretrained(self, kind: Any, path: str, folder: str, **settings: Any) -> Any:
        return kind.from_pretrained(path, subfolder=folder, variant=self.variant, **settings)
