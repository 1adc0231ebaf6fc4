"""Stable Diffusion 1.5 and XL, opened by diffusers and transformers alone: `ppd export` carries this.

B = batch.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from functools import cached_property
from typing import Any

import torch
from diffusers import AutoencoderKL, StableDiffusionPipeline, StableDiffusionXLPipeline, UNet2DConditionModel
from torch import Tensor, nn
from transformers import CLIPTextModel, CLIPTextModelWithProjection, CLIPTokenizer

from ppd_lightning.backbones.diffusers_codec import KLCodec
from ppd_lightning.backbones.interfaces import Conditions, Decoder, TextEncoder
from ppd_lightning.backbones.unet.prediction import STRIDE, predict_with_unet
from ppd_lightning.backbones.unet.text import ClipStates, DoubleClipStates
from ppd_lightning.backbones.unet.user_sites import attach_user_branch
from ppd_lightning.backbones.user_branch import UserBranch
from ppd_lightning.diffusion.betas import BetasPath, Prediction
from ppd_lightning.diffusion.deterministic import DeterministicSampler


class PretrainedUNet(ABC):
    """A base to draw with.

    Args:
        base: folder or hub name in diffusers' layout, or a checkpoint file in the original one.
        codec: folder or hub name with vae/; None is `base`.
        variant: "fp16" or "bf16", where the weights are in *.fp16.safetensors or *.bf16.safetensors.
        config: folder or hub name with configurations and tokenizers, for a checkpoint file.
        prediction: what the network predicts.
        zero_terminal_snr: whether the last step is noise alone.
    """

    pipeline: Any
    decoder_parts: Mapping[Decoder, str] = {"full": "decoder"}

    def __init__(
        self,
        base: str,
        codec: str | None,
        variant: str | None,
        *,
        config: str,
        prediction: Prediction,
        zero_terminal_snr: bool,
    ) -> None:
        self.base, self.codec, self.variant, self.config = base, codec, variant, config
        self.path = BetasPath(prediction, zero_terminal_snr=zero_terminal_snr)

    def load_network(self, dtype: torch.dtype) -> UNet2DConditionModel:
        """The network in evaluation mode."""
        return self._part(UNet2DConditionModel, "unet", torch_dtype=dtype).to(dtype).eval()

    def attach(self, network: nn.Module, embedding_dim: int, **settings: Any) -> UserBranch:
        """Put a new user branch on the network; settings as of `UserBranch`."""
        return attach_user_branch(network, embedding_dim, **settings)

    def latent_shape(self, image_size: int) -> tuple[int, ...]:
        """The shape of one image's latents."""
        return 4, image_size // STRIDE, image_size // STRIDE

    def predict(self, network: nn.Module, noised: Tensor, t: Tensor, conditions: Conditions) -> Tensor:
        """The prediction (B, 4, H, W) float32."""
        return predict_with_unet(
            network, noised, self.path.network_time(t), conditions["text"], conditions["text_pooled"]
        )

    def sampler(self) -> DeterministicSampler:
        """A new sampler."""
        return DeterministicSampler(self.path)

    def load_codec(self, device: torch.device | str, *needs: str) -> KLCodec:
        """The autoencoder, in float32."""
        if self.codec is not None:
            return KLCodec(AutoencoderKL.from_pretrained(self.codec, subfolder="vae", variant=self.variant).to(device))
        return KLCodec(self._part(AutoencoderKL, "vae").to(device))

    @abstractmethod
    def load_text(self, device: torch.device | str) -> TextEncoder:
        """The text encoders with their tokenizers, in float32."""

    @abstractmethod
    def null_text(self, text: TextEncoder) -> Mapping[str, Tensor]:
        """What text guidance leads away from."""

    def _reader(self, kind: Any, suffix: str, device: torch.device | str) -> tuple[CLIPTokenizer, Any]:
        tokenizer = self._part(CLIPTokenizer, f"tokenizer{suffix}", variant=None)
        return tokenizer, self._part(kind, f"text_encoder{suffix}", dtype=torch.float32).to(device)

    def _part(self, kind: Any, folder: str, **settings: Any) -> Any:
        if self.base.endswith(".safetensors"):
            return getattr(self._whole, folder)
        return kind.from_pretrained(self.base, subfolder=folder, **{"variant": self.variant} | settings)

    @cached_property
    def _whole(self) -> Any:
        """All parts of a checkpoint file, in float32."""
        return self.pipeline.from_single_file(self.base, config=self.config, torch_dtype=torch.float32)


class Pretrained15(PretrainedUNet):
    """Stable Diffusion 1.5."""

    pipeline = StableDiffusionPipeline

    def load_text(self, device: torch.device | str) -> ClipStates:
        """CLIP L."""
        return ClipStates(self._reader(CLIPTextModel, "", device))

    def null_text(self, text: TextEncoder) -> Mapping[str, Tensor]:
        """The states of the empty caption."""
        return text([""])


class PretrainedXL(PretrainedUNet):
    """Stable Diffusion XL."""

    pipeline = StableDiffusionXLPipeline

    def load_text(self, device: torch.device | str) -> DoubleClipStates:
        """CLIP L and CLIP G."""
        kinds = ((CLIPTextModel, ""), (CLIPTextModelWithProjection, "_2"))
        return DoubleClipStates([self._reader(kind, suffix, device) for kind, suffix in kinds])

    def null_text(self, text: TextEncoder) -> Mapping[str, Tensor]:
        """Zeros."""
        return {name: part * 0 for name, part in text([""]).items()}
