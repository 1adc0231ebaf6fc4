"""Weights from a file into a network, all of them or none; nothing in a file is ever run.

Files are safetensors. Some published rewards exist as pickles alone: who asks for it gets these too, by torch's
weights-only loading, which makes tensors and plain containers and refuses everything else.
"""

from __future__ import annotations

import zipfile
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any, TypeVar

import torch
from accelerate import init_empty_weights
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file
from torch import Tensor, nn

from ppd_lightning.errors import UserError

Network = TypeVar("Network", bound=nn.Module)
FP8 = (torch.float8_e4m3fn, torch.float8_e5m2, torch.float8_e4m3fnuz, torch.float8_e5m2fnuz)
COUNTER = "num_batches_tracked"
"""A buffer of batch norms that training alone reads, and that some files leave out."""


def load_weights(
    make: Callable[[], Network],
    file: Path,
    *more: Path,
    convert: Callable[[dict[str, Tensor]], dict[str, Tensor]] | None = None,
    dtype: torch.dtype = torch.float32,
    pickles: bool = False,
) -> Network:
    """A network with the weights of `file`, frozen and in evaluation mode.

    Args:
        make: gives the network; called where tensors have shapes and no memory.
        file: ends in .safetensors, unless `pickles`.
        more: further files of the same weights, where they lie in several.
        convert: from the file's names to the network's, where they differ.
        dtype: of the weights; what the file has (fp8 too) is cast, but single numbers: CLIP's logit scale in bf16 would
            change every score by 1 %.
        pickles: read a file of another ending as a pickle of weights.

    Raises:
        UserError: the file is damaged, no safetensors, its names and shapes are not those of the network, or some
            weights are no numbers.
    """
    tensors = read_pickle(file) if pickles and file.suffix != ".safetensors" else read_safetensors(file)[0]
    for further in more:
        tensors |= read_safetensors(further)[0]
    tensors = {name: _widened(tensor) for name, tensor in tensors.items()}
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
    tensors = {name: tensor.to(dtype if tensor.ndim else torch.float32) for name, tensor in tensors.items()}
    broken = [name for name, tensor in tensors.items() if not tensor.isfinite().all()]
    if broken:
        raise UserError(
            f"{file}: {len(broken)} of its tensors hold NaN or infinity, such as {broken[0]}; fetch or make it again"
        )
    counters = {name: torch.zeros((), dtype=torch.int64) for name in wanted if name.endswith(COUNTER)}
    network.load_state_dict(tensors | counters, strict=True, assign=True)
    _fill_computed(network, make, dtype)
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


def read_pickle(file: Path) -> dict[str, Tensor]:
    """Every tensor of a state dict that was written by torch.save, by name; one inside of `state_dict` is found.

    Raises:
        UserError: it is damaged, holds more than weights, or is something else.
    """
    try:
        found = torch.load(file, map_location="cpu", weights_only=True, mmap=zipfile.is_zipfile(file))
    except Exception as error:  # of pickle, of zip files, of torch, of whatever the bytes mean
        reason = " ".join(str(error).split())[:200]
        raise UserError(
            f"{file}: cut short, or no file of weights alone, and nothing else is opened ({reason}); fetch it again"
        ) from None
    found = found.get("state_dict", found) if isinstance(found, dict) else None
    if not found or not all(isinstance(tensor, Tensor) for tensor in found.values()):
        raise UserError(f"{file}: no state dict; expected a mapping from names to tensors, as torch.save writes it")
    return {str(name): tensor for name, tensor in found.items()}


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


def _widened(tensor: Tensor) -> Tensor:
    """An fp8 tensor in bf16, which holds all of its values and can be computed with; others as they are."""
    return tensor.to(torch.bfloat16) if tensor.dtype in FP8 else tensor


def _is_plain(tensor: Tensor) -> bool:
    """Whether it holds numbers as they are: floats of at least 16 bits, all of them there."""
    stored = tensor.layout == torch.strided and not tensor.is_meta
    return stored and tensor.is_floating_point() and tensor.itemsize > 1


def _fill_computed(network: nn.Module, make: Callable[[], nn.Module], dtype: torch.dtype) -> None:
    """Give the buffers that no file has (masks, positions) what the network's constructor computes."""
    lacking = [name for name, buffer in network.named_buffers() if buffer.is_meta]
    if not lacking:
        return
    with init_empty_weights(include_buffers=False):
        computed = dict(make().named_buffers())
    for name in lacking:
        owner, _, own = name.rpartition(".")
        buffer = computed[name]
        setattr(network.get_submodule(owner), own, buffer.to(dtype) if buffer.is_floating_point() else buffer)


def _damaged(file: Path, error: Exception) -> str:
    return f"{file}: cut short, or not a safetensors file ({error}); fetch or make it again"


def _differences(wanted: Mapping[str, Tensor], found: Mapping[str, Tensor]) -> Iterable[str]:
    missing = [name for name in wanted if name not in found and not name.endswith(COUNTER)]
    unknown = [name for name in found if name not in wanted]
    other = [name for name in found if name in wanted and found[name].shape != wanted[name].shape]
    whole = [name for name in found if not _is_plain(found[name])]
    if missing:
        yield f"{len(missing)} tensors are missing, such as {missing[0]}"
    if unknown:
        yield f"{len(unknown)} are unknown, such as {unknown[0]}"
    if other:
        shapes = f"{tuple(found[other[0]].shape)}, expected {tuple(wanted[other[0]].shape)}"
        yield f"{len(other)} have another shape, such as {other[0]}: {shapes}"
    if whole:
        kind = f"{found[whole[0]].layout} {found[whole[0]].dtype}".removeprefix("torch.strided ")
        yield f"{len(whole)} hold no fractions, such as {whole[0]}: {kind}"


def misfits(found: Mapping[str, Any]) -> str:
    """What does not fit of weights that transformers loaded, by its loading info, in words; nothing where all does."""
    return "; ".join(
        f"{len(found[kind])} {what}, such as {sorted(map(str, found[kind]))[0]}"
        for kind, what in (("missing_keys", "tensors are missing"), ("mismatched_keys", "have another shape"))
        if found[kind]
    )
