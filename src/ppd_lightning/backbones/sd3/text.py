"""Captions to what Stable Diffusion 3 reads of them: the states of two CLIPs, and of a T5 where it is not left out.

B = batch, L = CLIP's tokens, C = width of both CLIPs together, T = T5's tokens, W = the network's text width, which is
T5's, C' = pooled width of both CLIPs together.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F
from transformers import CLIPTextModelWithProjection, CLIPTokenizer, T5EncoderModel, T5TokenizerFast

from ppd_lightning.backbones.ahead import copied_ahead


class TextStates:
    """Captions to text states, as diffusers' `StableDiffusion3Pipeline.encode_prompt` computes them.

    Of each CLIP the states before its last layer and the projected pooled state; of T5 the last states. None of the
    encoders gets a mask, so padding carries the caption too.

    Args:
        clips: each tokenizer with its encoder, in the order of the released folder.
        t5: the same of T5; None leaves it out.
        tokens: T, what is longer of a caption is cut off for T5.
    """

    def __init__(
        self,
        clips: Sequence[tuple[CLIPTokenizer, CLIPTextModelWithProjection]],
        t5: tuple[T5TokenizerFast, T5EncoderModel] | None,
        tokens: int,
    ) -> None:
        self.clips, self.t5, self.tokens = list(clips), t5, tokens
        for _, encoder in [*self.clips, *([t5] if t5 else [])]:
            encoder.eval().requires_grad_(False)

    @torch.no_grad()
    def __call__(self, captions: list[str]) -> dict[str, Tensor]:
        """Captions (B) to `text` (B, L, C), `text_t5` (B, T, W) unless T5 is left out, and `text_pooled` (B, C')."""
        length = self.clips[0][0].model_max_length
        of_clips = [
            encoder(_ids(tokenizer, captions, length, encoder.device), output_hidden_states=True)
            for tokenizer, encoder in self.clips
        ]
        states = {"text": torch.cat([one.hidden_states[-2] for one in of_clips], dim=-1)}
        if self.t5:
            tokenizer, encoder = self.t5
            states["text_t5"] = encoder(_ids(tokenizer, captions, self.tokens, encoder.device))[0].float()
        return states | {"text_pooled": torch.cat([one.text_embeds for one in of_clips], dim=-1)}


def joint_states(conditions: Mapping[str, Tensor], transformer: Any, tokens: int) -> Tensor:
    """The states of all encoders as the one text (B, L + T, W) that the network reads.

    CLIP's are filled up with zeros to the network's width. Zeros stand for a T5 that was left out, as in the released
    pipeline.

    Args:
        conditions: what `TextStates` gave.
        transformer: an `SD3Transformer2DModel`.
        tokens: T, of a T5 that was left out.
    """
    text, width = conditions["text"], transformer.config.joint_attention_dim
    of_t5 = conditions.get("text_t5")
    if of_t5 is None:
        of_t5 = text.new_zeros(len(text), tokens, width)
    return torch.cat([F.pad(text, (0, width - text.shape[-1])), of_t5.to(text)], dim=1)


def _ids(tokenizer: CLIPTokenizer | T5TokenizerFast, captions: list[str], length: int, device: torch.device) -> Tensor:
    cut = tokenizer(captions, padding="max_length", max_length=length, truncation=True, return_tensors="pt")
    return copied_ahead(cut.input_ids, device)
