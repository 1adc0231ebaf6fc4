"""Which network a user branch was trained on, as a few digits."""

from __future__ import annotations

import hashlib

import torch
from torch import nn


def base_fingerprint(network: nn.Module) -> str:
    """12 hex digits for a network's weights: names, shapes and the first values of every tensor, in bfloat16.

    So that the same weights are known again on any device and in any dtype, in well under a second at full size.
    """
    digest = hashlib.sha256()
    for name, tensor in sorted(network.state_dict().items()):
        head = tensor.flatten()[:64].to("cpu", torch.bfloat16).view(torch.int16).numpy()
        digest.update(f"{name}{tuple(tensor.shape)}".encode() + head.tobytes())
    return digest.hexdigest()[:12]
