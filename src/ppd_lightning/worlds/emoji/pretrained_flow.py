"""The emoji flow model from its folder, by diffusers and transformers alone: `ppd export` carries this."""

from __future__ import annotations

import torch
from transformers import CLIPTextModelWithProjection, CLIPTokenizer

from ppd_lightning.backbones.cascade.text import TextStates
from ppd_lightning.backbones.sd3.pretrained import PretrainedTransformer
from ppd_lightning.worlds.emoji.codec import EmojiCodec


class PretrainedEmojiFlow(PretrainedTransformer):
    """The emoji flow model; its folder has codec/ beside the other parts."""

    stride, latent_channels = 8, 16

    def load_text(self, device: torch.device | str) -> TextStates:
        """The text encoder with its tokenizer, in float32."""
        tokenizer = CLIPTokenizer.from_pretrained(self.base, subfolder="tokenizer")
        encoder = self._pretrained(CLIPTextModelWithProjection, self.base, "text_encoder", dtype=torch.float32)
        return TextStates(tokenizer, encoder.to(device))

    def load_codec(self, device: torch.device | str, *needs: str) -> EmojiCodec:
        """The codec, which is one network."""
        codec: EmojiCodec = self._pretrained(EmojiCodec, self.codec, "codec").to(device)
        return codec
