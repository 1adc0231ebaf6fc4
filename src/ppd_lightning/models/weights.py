"""Weights from a safetensors file into a network, all of them or none; nothing is ever unpickled."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import TypeVar

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file
from torch import Tensor, nn

from ppd_lightning.run.errors import UserError

Network = TypeVar("Network", bound=nn.Module)
COUNTER = "num_batches_tracked"
"""A buffer of batch norms that training alone reads, and that some files leave out."""


def load_weights(
    make: Callable[[], Network],
    file: Path,
    *,
    convert: Callable[[dict[str, Tensor]], dict[str, Tensor]] | None = None,
    dtype: torch.dtype = torch.float32,
) -> Network:
    """A network with the weights of `file`, frozen and in evaluation mode.

    Args:
        make: gives the network; called where tensors have shapes and no memory.
        file: ends in .safetensors.
        convert: from the file's names to the network's, where they differ.
        dtype: of the weights; what the file has is cast.

    Raises:
        UserError: the file is damaged, no safetensors, or its names and shapes are not those of the network.
    """
    tensors, _ = read_safetensors(file)
    if convert is not None:
        tensors = convert(tensors)
    with torch.device("meta"):
        network = make()
    wanted = network.state_dict()
    tensors = {name: tensor for name, tensor in tensors.items() if not name.endswith(COUNTER)}
    faults = list(_differences(wanted, tensors))
    if faults:
        raise UserError(
            f"{file}: these are not the weights of this network ({'; '.join(faults)}); "
            "is this file, or the configuration beside it, of another model?"
        )
    counters = {name: torch.zeros((), dtype=torch.int64) for name in wanted if name.endswith(COUNTER)}
    network.load_state_dict(
        {name: tensor.to(dtype) for name, tensor in tensors.items()} | counters, strict=True, assign=True
    )
    return network.eval().requires_grad_(False)


def read_safetensors(file: Path) -> tuple[dict[str, Tensor], dict[str, str]]:
    """Every tensor of a safetensors file, by name, and its metadata.

    Raises:
        UserError: it is damaged or something else.
    """
    try:
        with safe_open(file, framework="pt") as opened:
            return load_file(file), opened.metadata() or {}
    except (SafetensorError, OSError) as error:
        raise UserError(_damaged(file, error)) from None


def require_safetensors(file: Path) -> None:
    """Read the file's header.

    Raises:
        UserError: it is damaged or something else.
    """
    try:
        with safe_open(file, framework="pt"):
            pass
    except (SafetensorError, OSError) as error:
        raise UserError(_damaged(file, error)) from None


def _damaged(file: Path, error: Exception) -> str:
    return f"{file}: cut short, or not a safetensors file ({error}); fetch or make it again"


def _differences(wanted: Mapping[str, Tensor], found: Mapping[str, Tensor]) -> Iterable[str]:
    missing = [name for name in wanted if name not in found and not name.endswith(COUNTER)]
    unknown = [name for name in found if name not in wanted]
    other = [name for name in found if name in wanted and found[name].shape != wanted[name].shape]
    whole = [name for name in found if not found[name].is_floating_point()]
    if missing:
        yield f"{len(missing)} tensors are missing, such as {missing[0]}"
    if unknown:
        yield f"{len(unknown)} are unknown, such as {unknown[0]}"
    if other:
        shapes = f"{tuple(found[other[0]].shape)}, expected {tuple(wanted[other[0]].shape)}"
        yield f"{len(other)} have another shape, such as {other[0]}: {shapes}"
    if whole:
        yield f"{len(whole)} hold no fractions, such as {whole[0]}: {found[whole[0]].dtype}"
