"""Stage C as Stability AI released it: the two sizes, and the names of the original checkpoint's weights."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import Tensor

STAGE_C: Mapping[str, Mapping[str, Any]] = {
    "stage_c": {
        "block_out_channels": (2048, 2048),
        "conditioning_dim": 2048,
        "num_attention_heads": (32, 32),
        "down_num_layers_per_block": (8, 24),
        "up_num_layers_per_block": (24, 8),
    },
    "stage_c_lite": {
        "block_out_channels": (1536, 1536),
        "conditioning_dim": 1536,
        "num_attention_heads": (24, 24),
        "down_num_layers_per_block": (4, 12),
        "up_num_layers_per_block": (12, 4),
    },
}
"""What differs between the sizes, as `stage_c_config` completes it."""


def stage_c_config(name: str) -> dict[str, Any]:
    """The arguments of `diffusers.StableCascadeUNet` for "stage_c" (3.6B) or "stage_c_lite" (1B).

    Source: configs of the released models (Stability-AI/StableCascade, configs/training/*c_1b* and *c_3b*).
    """
    return {
        **STAGE_C[name],
        "in_channels": 16,
        "out_channels": 16,
        "patch_size": 1,
        "clip_text_in_channels": 1280,
        "clip_text_pooled_in_channels": 1280,
        "clip_image_in_channels": 768,
        "switch_level": (False,),
        "timestep_conditioning_type": ("sca", "crp"),
    }


def from_original(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Weights of the original checkpoint under diffusers' names.

    Only attention differs: queries, keys and values are one matrix there (what has no three parts keeps its name).
    Source: Stability-AI/StableCascade, modules/common.py (`torch.nn.MultiheadAttention`).
    """
    renamed: dict[str, Tensor] = {}
    for name, tensor in tensors.items():
        stem, joint, kind = name.partition(".attn.in_proj_")
        parts = tensor.chunk(3) if joint and tensor.ndim else ()
        if len(parts) == 3:
            for own, part in zip(("to_q", "to_k", "to_v"), parts, strict=True):
                renamed[f"{stem}.{own}.{kind}"] = part
        else:
            renamed[name.replace(".attn.out_proj.", ".to_out.0.")] = tensor
    return renamed
