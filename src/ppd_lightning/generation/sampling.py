"""Sampling many images in batches, by the settings of `generation`.

B = images, R = captions, K = users, E = width of a user embedding.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from ppd_lightning.generation.pipeline import Guidance, UserPipeline
from ppd_lightning.generation.settings import Generation

Draw = Callable[[Sequence[str], Tensor | None, Sequence[int]], Tensor]
"""Captions (B), users (B, E) or None for the base, and seeds (B) to images (B, 3, H, W) float in [0, 1]."""


def draw_images(
    pipeline: UserPipeline,
    settings: Generation,
    captions: Sequence[str],
    users: Tensor | None,
    seeds: Sequence[int],
    prompts: Sequence[str] | None = None,
) -> Tensor:
    """Images (B, 3, H, W) float in [0, 1], at most `generation.batch_size` at once.

    Users (B, E), None for the base; prompts where the model reads others than the captions.
    """
    low, high = settings.user_guidance_interval
    guidance = Guidance(settings.text_guidance, settings.user_guidance, (low, high))
    size, parts = settings.batch_size, []
    for begin in range(0, len(captions), size):
        part = slice(begin, begin + size)
        own = None if users is None else users[part]
        read = None if prompts is None else prompts[part]
        drawn = pipeline(
            captions[part],
            own,
            seeds[part],
            read,
            steps=settings.steps,
            guidance=guidance,
            decode_at_once=settings.decode_at_once,
        )
        parts.append(drawn.cpu())
    return torch.cat(parts)


def draw_sheet(draw: Draw, captions: Sequence[str], embeddings: Tensor, seed: int) -> Tensor:
    """Captions (R) for users (R, K, E) with one seed: images (R, 1 + K, 3, H, W), the base first."""
    base = draw(captions, None, [seed] * len(captions))
    each = [caption for caption in captions for _ in range(embeddings.shape[1])]
    drawn = draw(each, embeddings.flatten(0, 1), [seed] * len(each))
    return torch.cat([base[:, None], drawn.unflatten(0, (len(captions), -1))], dim=1)
