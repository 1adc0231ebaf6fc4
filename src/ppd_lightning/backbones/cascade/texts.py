"""Reading captions as Stage C does: one CLIP text encoder with its tokenizer.

B = batch, L = text tokens, C = text width, C' = pooled text width.
"""

from __future__ import annotations

from abc import ABC
from typing import TYPE_CHECKING, ClassVar

from ppd_lightning.backbones.backbone import Backbone
from ppd_lightning.light_imports import light_imports
from ppd_lightning.settings.part import settings

if TYPE_CHECKING:  # a configuration is checked without them
    import torch
    from transformers import CLIPTokenizer

    from ppd_lightning.backbones.cascade.text import TextStates


@settings
class CascadeTexts(Backbone, ABC):
    """A model whose conditions are `text` (B, L, C) and `text_pooled` (B, 1, C') of Stage C's text encoder."""

    text_arrays: ClassVar[tuple[str, ...]] = ("text", "text_pooled")

    def load_text(self, device: torch.device | str = "cpu") -> TextStates:
        """The frozen text encoder with its tokenizer, in float32.

        Raises:
            UserError: files are missing or damaged, or the weights are not those of the network that its configuration
                describes.
        """
        with light_imports():
            from transformers import CLIPTextModelWithProjection

            from ppd_lightning.backbones.cascade.text import TextStates
            from ppd_lightning.backbones.clip_text import load_text_model, require_same_length

        files = self.files("text_encoder")
        tokenizer = self.load_tokenizer()
        encoder = load_text_model(CLIPTextModelWithProjection, *files)
        require_same_length(tokenizer, encoder)
        return TextStates(tokenizer, encoder.to(device))

    def load_tokenizer(self) -> CLIPTokenizer:
        """What cuts captions into tokens; `model_max_length` of them are read.

        Raises:
            UserError: its files are missing or damaged.
        """
        with light_imports():
            from transformers import CLIPTokenizer

            from ppd_lightning.backbones.clip_text import load_tokenizer

        tokenizer: CLIPTokenizer = load_tokenizer(CLIPTokenizer, self.files("tokenizer")[0].parent)
        return tokenizer
