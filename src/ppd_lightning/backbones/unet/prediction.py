"""Calling Stable Diffusion's UNet: what it needs beside the noised latents. `ppd export` carries this.

B = batch, L = text tokens, C = text width, C' = pooled text width.
"""

from __future__ import annotations

import torch
from diffusers import UNet2DConditionModel
from torch import Tensor

STRIDE = 8
"""Pixels to one position of the latents."""


def predict_with_unet(
    unet: UNet2DConditionModel, noised: Tensor, time: Tensor, text: Tensor, text_pooled: Tensor
) -> Tensor:
    """The prediction of a UNet, whose meaning is its path's target.

    A network in bf16 works under autocast, so that the time keeps its digits and sums stay in fp32.

    Args:
        unet: of Stable Diffusion 1.5 or XL.
        noised: latents (B, 4, H, W).
        time: (B,) numbers of steps.
        text: (B, L, C) text states.
        text_pooled: (B, C') pooled text states. XL alone reads them, and sizes: the picture as if it was never larger
            and nothing was cut off, (r, r, 0, 0, r, r), as Diffusion-DPO trained and diffusers draws.

    Returns:
        (B, 4, H, W) float32.
    """
    added = None
    if unet.config.addition_embed_type == "text_time":
        height, width = (STRIDE * side for side in noised.shape[2:])
        numbers = (height, width, 0, 0, height, width)  # filled in by the device: a copy of them would be waited for
        sizes = torch.stack([noised.new_full((), number) for number in numbers]).expand(len(noised), -1)
        added = {"text_embeds": text_pooled, "time_ids": sizes}
    with torch.autocast(noised.device.type, torch.bfloat16, enabled=unet.dtype == torch.bfloat16):
        predicted: Tensor = unet(noised, time, text, added_cond_kwargs=added, return_dict=False)[0]
    return predicted.float()
