"""The codec of the emoji model from its folder, by diffusers alone: `ppd export` carries this."""

from __future__ import annotations

import torch

from ppd_lightning.backbones.cascade.pretrained import PretrainedCascade
from ppd_lightning.worlds.emoji.codec import EmojiCodec


class PretrainedEmoji(PretrainedCascade):
    """The emoji model; its folder has codec/ beside the other parts."""

    stride = 8

    def load_codec(self, device: torch.device | str, *needs: str) -> EmojiCodec:
        """The codec, which is one network."""
        codec: EmojiCodec = self._pretrained(EmojiCodec, self.codec, "codec").to(device)
        return codec
