"""A network's weights under the names of the original Stable Cascade checkpoint."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor


def to_original(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """From diffusers' names: queries, keys and values of an attention are one matrix of `nn.MultiheadAttention`."""
    original = {}
    for name, tensor in state.items():
        stem, query, kind = name.partition(".to_q.")
        if query:
            parts = [state[f"{stem}.to_{part}.{kind}"] for part in "qkv"]
            original[f"{stem}.attn.in_proj_{kind}"] = torch.cat(parts)
        elif ".to_k." not in name and ".to_v." not in name:
            original[name.replace(".to_out.0.", ".attn.out_proj.")] = tensor
    return original
