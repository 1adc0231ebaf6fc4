"""What would wait for a GPU, found on the meta device: there a number cannot be read, so what reads one fails.

Copies between the CPU and the device, and tensors that are made of Python's numbers, are found by their operations.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode, _disable_current_modes
from torch.utils._pytree import tree_leaves


class _Operations(TorchDispatchMode):
    def __torch_dispatch__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        made = function(*args, **(kwargs or {}))
        tensors = [leaf for leaf in tree_leaves((args, kwargs or {}, made)) if isinstance(leaf, Tensor)]
        devices = {tensor.device.type for tensor in tensors if tensor.device.type == "meta" or tensor.ndim}
        assert len(devices) < 2, f"{function} copies between devices"
        return made


class _Numbers(TorchFunctionMode):
    def __torch_function__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        made = function(*args, **(kwargs or {}))
        if function in (torch.tensor, torch.as_tensor, Tensor.new_tensor):
            assert made.device.type != "meta", "numbers are copied to the device"
        return made


@contextlib.contextmanager
def nothing_waits() -> Iterator[None]:
    """Within it, an operation in which a GPU and the CPU would wait for each other is an error."""
    with _Operations(), _Numbers():
        yield


@contextlib.contextmanager
def without_autocast() -> Iterator[None]:
    """Within it, whoever asks for autocast gets none, which the meta device has not."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(torch, "autocast", lambda *args, **settings: contextlib.nullcontext())
        yield


def copied_ahead(values: Tensor, device: torch.device) -> Tensor:
    """In place of `ahead.copied_ahead`, for which nothing waits: pinned memory needs a GPU."""
    with _disable_current_modes():
        return values.to(device)


def on_meta(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    return {name: tensor.to("meta") for name, tensor in tensors.items()}
