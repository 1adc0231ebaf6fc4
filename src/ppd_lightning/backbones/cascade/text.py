"""Captions to what Stage C reads of them.

B = batch, L = text tokens, C = text width, C' = pooled text width.
"""

from __future__ import annotations

import torch
from torch import Tensor
from transformers import CLIPTextModelWithProjection, CLIPTokenizer

from ppd_lightning.backbones.ahead import copied_ahead


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
        )
        ids, mask = (
            part if part is None else copied_ahead(part, self.encoder.device)
            for part in (tokens.input_ids, _causal_mask(tokens.attention_mask.bool()))
        )
        states = self.encoder(ids, attention_mask=mask, output_hidden_states=True)
        return {"text": states.hidden_states[-1], "text_pooled": states.text_embeds.unsqueeze(1)}


def _causal_mask(real: Tensor) -> Tensor | None:
    """Which tokens each token attends to, (B, 1, L, L) bool, of those that are not padding, (B, L) bool on the CPU.

    None, plain causal attention, where there is no padding. The encoder would make the same of `real`, but look at its
    numbers on the device, which waits.
    """
    if real.all():
        return None
    return real[:, None, None, :] & torch.ones(real.shape[1], real.shape[1], dtype=torch.bool).tril()
