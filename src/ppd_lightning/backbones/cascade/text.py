"""Captions to what Stage C reads of them.

B = batch, L = text tokens, C = text width, C' = pooled text width.
"""

from __future__ import annotations

import torch
from torch import Tensor
from transformers import CLIPTextModelWithProjection, CLIPTokenizer


class TextStates:
    """Captions to text states, as the released pipeline computes them.

    Source: diffusers' `StableCascadePriorPipeline.encode_prompt`: the last hidden state before the final LayerNorm, and
    the projected pooled state.
    """

    def __init__(self, tokenizer: CLIPTokenizer, encoder: CLIPTextModelWithProjection) -> None:
        self.tokenizer = tokenizer
        self.encoder = encoder.eval().requires_grad_(False)

    @torch.no_grad()
    def __call__(self, captions: list[str]) -> dict[str, Tensor]:
        """Captions (B) to `text` (B, L, C) and `text_pooled` (B, 1, C'); what is too long of a caption is cut off."""
        tokens = self.tokenizer(
            captions,
            padding="max_length",
            max_length=self.tokenizer.model_max_length,
            truncation=True,
            return_tensors="pt",
        ).to(self.encoder.device)
        states = self.encoder(tokens.input_ids, attention_mask=tokens.attention_mask, output_hidden_states=True)
        return {"text": states.hidden_states[-1], "text_pooled": states.text_embeds.unsqueeze(1)}
