"""Calling a transformer of Stable Diffusion 3's kind: what the network needs beside the noised latents.

B = batch, L = text tokens, C = text width, C' = pooled text width.
"""

from __future__ import annotations

import torch
from diffusers import SD3Transformer2DModel
from torch import Tensor


def predict_velocity(
    transformer: SD3Transformer2DModel, noised: Tensor, network_time: Tensor, text: Tensor, text_pooled: Tensor
) -> Tensor:
    """The velocity, noise minus latents, that the transformer sees in `noised`.

    A transformer in bf16 works under autocast, so that the time keeps its digits and sums stay in fp32.

    Args:
        transformer: with or without a user branch.
        noised: latents (B, channels, H, W).
        network_time: times (B,) as the network reads them: 1000 for pure noise, 0 for none.
        text: (B, L, C) text states, C being the transformer's `joint_attention_dim`.
        text_pooled: (B, C') or (B, 1, C') pooled text states.

    Returns:
        the predicted velocity (B, channels, H, W) float32.
    """
    with torch.autocast(noised.device.type, torch.bfloat16, enabled=transformer.dtype == torch.bfloat16):
        predicted: Tensor = transformer(
            noised,
            encoder_hidden_states=text,
            pooled_projections=text_pooled.flatten(1),
            timestep=network_time,
            return_dict=False,
        )[0]
    return predicted.float()
