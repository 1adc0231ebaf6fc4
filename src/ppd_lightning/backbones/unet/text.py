"""Captions to what Stable Diffusion's UNet reads of them. `ppd export` carries this.

B = batch, L = text tokens, C = text width, C' = pooled text width.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from transformers import CLIPTokenizer

from ppd_lightning.backbones.ahead import copied_ahead

Reader = tuple[CLIPTokenizer, Any]
"""A text encoder of CLIP (its class says whether with a projection) and its own tokenizer."""


class ClipStates:
    """Captions to text states as Stable Diffusion 1.5 reads them: CLIP's last ones, after its final LayerNorm.

    Source: diffusers' `StableDiffusionPipeline.encode_prompt`.
    """

    def __init__(self, reader: Reader) -> None:
        self.tokenizer, self.encoder = reader
        self.encoder.eval().requires_grad_(False)

    @torch.no_grad()
    def __call__(self, captions: list[str]) -> dict[str, Tensor]:
        """Captions (B) to `text` (B, L, C) and `text_pooled` (B, C); what is too long of a caption is cut off.

        The UNet does not read the pooled states, those of the last token: they stand for whole captions.
        """
        states = self.encoder(_tokens(self.tokenizer, captions, self.encoder.device))
        return {"text": states.last_hidden_state, "text_pooled": states.pooler_output}


class DoubleClipStates:
    """Captions to text states as Stable Diffusion XL reads them: of two CLIPs side by side, before the last layer.

    Source: diffusers' `StableDiffusionXLPipeline.encode_prompt`.

    Args:
        readers: CLIP L, and CLIP G whose projected pooled state is read too.
    """

    def __init__(self, readers: Sequence[Reader]) -> None:
        self.readers = readers
        for _, encoder in readers:
            encoder.eval().requires_grad_(False)

    @torch.no_grad()
    def __call__(self, captions: list[str]) -> dict[str, Tensor]:
        """Captions (B) to `text` (B, L, C) and `text_pooled` (B, C'); what is too long of a caption is cut off."""
        found = [
            encoder(_tokens(tokenizer, captions, encoder.device), output_hidden_states=True)
            for tokenizer, encoder in self.readers
        ]
        text = torch.cat([states.hidden_states[-2] for states in found], dim=-1)
        return {"text": text, "text_pooled": found[-1].text_embeds}


def _tokens(tokenizer: CLIPTokenizer, captions: list[str], device: torch.device) -> Tensor:
    length = tokenizer.model_max_length
    asked = tokenizer(captions, padding="max_length", max_length=length, truncation=True, return_tensors="pt")
    return copied_ahead(asked.input_ids, device)
