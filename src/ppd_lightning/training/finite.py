"""Whether numbers are finite, asked of many tensors at once: the device is waited for once."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import torch
from torch import Tensor


def first_nonfinite(content: Any) -> tuple[str, float] | None:
    """The dotted name of the first tensor of nested mappings and lists that is not finite, and the first such value.

    None where all are finite; whole numbers are.
    """
    found = [(name, tensor) for name, tensor in _tensors(content, "") if tensor.is_floating_point() and tensor.numel()]
    devices = dict.fromkeys(tensor.device for _, tensor in found)
    for device in devices:
        own = [(name, tensor) for name, tensor in found if tensor.device == device]
        sound = torch.stack([tensor.detach().isfinite().all() for _, tensor in own]).cpu()
        if not sound.all():
            name, tensor = own[int(sound.logical_not().nonzero()[0])]
            return name, float(tensor.detach()[~tensor.detach().isfinite()][0])
    return None


def _tensors(content: Any, prefix: str) -> Iterator[tuple[str, Tensor]]:
    if isinstance(content, Tensor):
        yield prefix, content
    elif isinstance(content, (Mapping, list, tuple)):
        parts = content.items() if isinstance(content, Mapping) else enumerate(content)
        for name, part in parts:
            yield from _tensors(part, f"{prefix}.{name}" if prefix else str(name))
