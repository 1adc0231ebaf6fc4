"""Copies to a GPU for which the CPU does not wait. `ppd export` carries this."""

from __future__ import annotations

import torch
from torch import Tensor


def copied_ahead(values: Tensor, device: torch.device) -> Tensor:
    """The values of a tensor of the CPU on a device.

    A GPU copies from pinned memory in its own time: what it was asked for before is not waited for.
    """
    if device.type == "cuda":
        return values.pin_memory().to(device, non_blocking=True)
    return values.to(device)
