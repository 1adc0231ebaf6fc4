"""Calling Stage C: what its network needs beside the noised latents.

B = batch, L = text tokens, C = text width.
"""

from __future__ import annotations

import torch
from diffusers import StableCascadeUNet
from torch import Tensor


def predict_noise(prior: StableCascadeUNet, noised: Tensor, t: Tensor, text: Tensor, text_pooled: Tensor) -> Tensor:
    """The noise that Stage C sees in `noised`, without an image prompt.

    A prior in bf16 works under autocast, so that the time keeps its digits and sums stay in fp32.

    Args:
        prior: Stage C.
        noised: latents (B, 16, H, W).
        t: times (B,) in [0, 1], given to the network as they are.
        text: (B, L, C) text states.
        text_pooled: (B, 1, C') pooled text states.

    Returns:
        predicted noise (B, 16, H, W) float32.
    """
    image = noised.new_zeros(len(noised), 1, prior.config.clip_image_in_channels)
    with torch.autocast(noised.device.type, torch.bfloat16, enabled=prior.dtype == torch.bfloat16):
        predicted: Tensor = prior(
            noised, t, clip_text_pooled=text_pooled, clip_text=text, clip_img=image, return_dict=False
        )[0]
    return predicted.float()
