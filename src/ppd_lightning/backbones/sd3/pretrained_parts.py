"""Stable Diffusion 3 from a released folder, by diffusers and transformers alone: `ppd export` carries this.

B = batch.
"""

from __future__ import annotations

from typing import Any

import torch
from diffusers import AutoencoderKL
from torch import Tensor, nn
from transformers import CLIPTextModelWithProjection, CLIPTokenizer, T5EncoderModel, T5TokenizerFast

from ppd_lightning.backbones.diffusers_codec import KLCodec
from ppd_lightning.backbones.interfaces import Conditions
from ppd_lightning.backbones.sd3.pretrained import PretrainedTransformer
from ppd_lightning.backbones.sd3.text import TextStates, joint_states
from ppd_lightning.backbones.sd3.user_sites import attach_user_branch
from ppd_lightning.backbones.user_branch import UserBranch


class PretrainedStableDiffusion3(PretrainedTransformer):
    """Stable Diffusion 3 or 3.5; the codec's folder has vae/.

    Args:
        base: see `PretrainedTransformer`.
        codec: see there.
        variant: see there.
        shift: see there.
        t5: whether captions are read by T5 too.
        text_tokens: of T5.
        dual_sites: see `attach_user_branch`.
    """

    stride, latent_channels = 8, 16

    def __init__(
        self,
        base: str,
        codec: str | None,
        variant: str | None,
        *,
        shift: float,
        t5: bool,
        text_tokens: int,
        dual_sites: bool,
    ) -> None:
        super().__init__(base, codec, variant, network="transformer", shift=shift)
        self.t5, self.text_tokens, self.dual_sites = t5, text_tokens, dual_sites

    def attach(self, network: nn.Module, embedding_dim: int, **settings: Any) -> UserBranch:
        """See `PretrainedTransformer`."""
        return attach_user_branch(network, embedding_dim, dual=self.dual_sites, **settings)

    def text_of(self, network: nn.Module, conditions: Conditions) -> Tensor:
        """The states of all encoders."""
        return joint_states(conditions, network, self.text_tokens)

    def load_text(self, device: torch.device | str) -> TextStates:
        """Both CLIPs in float32, and T5, in bfloat16 on a GPU, unless it is left out."""
        clips = [
            (
                CLIPTokenizer.from_pretrained(self.base, subfolder=f"tokenizer{suffix}"),
                self._pretrained(
                    CLIPTextModelWithProjection, self.base, f"text_encoder{suffix}", dtype=torch.float32
                ).to(device),
            )
            for suffix in ("", "_2")
        ]
        t5 = None
        if self.t5:
            dtype = torch.bfloat16 if torch.device(device).type == "cuda" else torch.float32
            encoder = self._pretrained(T5EncoderModel, self.base, "text_encoder_3", dtype=dtype).to(device)
            t5 = T5TokenizerFast.from_pretrained(self.base, subfolder="tokenizer_3"), encoder
        return TextStates(clips, t5, self.text_tokens)

    def load_codec(self, device: torch.device | str, *needs: str) -> KLCodec:
        """The autoencoder, in float32."""
        return KLCodec(self._pretrained(AutoencoderKL, self.codec, "vae").to(device))
