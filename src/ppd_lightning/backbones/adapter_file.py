"""The file of a user branch: its tensors, a JSON header in the metadata, and a checksum; an export carries this."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor

from ppd_lightning.errors import UserError
from ppd_lightning.storage.atomic import atomic_path
from ppd_lightning.storage.checked_tensors import ENTRY, OtherKindError, UnsoundError, read_checked, with_checksum

FORMAT = "user branch 2"
EARLIER = "user branch 1"
"""The format without a checksum."""
NEEDED = {"branch": dict, "base": str, "metadata": dict}
"""What a header has beside its format, and of which type."""
BRANCH = {"embedding_dim": (int,), "num_tokens": (int,), "null": (str,), "token_width": (int, str)}
"""What `branch` may hold: the arguments of `Backbone.attach`."""
PROJECTION = "projection.weight"
"""The tensor (tokens * width of a token, width of an embedding) that the settings of a branch must fit."""
AGAIN = (
    "run `ppd train` with the same settings, which writes it again from its last checkpoint, and for an export "
    "`ppd export`; or fetch it again"
)


def read_adapter(path: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """The tensors of an adapter by name, and its header.

    Raises:
        UserError: there is none, it is damaged, something else, or not all of it is finite.
    """
    try:
        data, header = read_checked(path, FORMAT, EARLIER)
        tensors = load(data)
        absent = [name for name, kind in NEEDED.items() if not isinstance(header.get(name), kind)]
        if absent:
            raise UnsoundError(f"its metadata lack {', '.join(absent)}, or hold something else there")
        _check_branch(header["branch"], tensors)
    except FileNotFoundError:
        raise UserError(f"{path}: no such adapter; train one with `ppd train` (of an export: `ppd export`)") from None
    except OtherKindError:
        raise UserError(f"{path}: a safetensors file, but not an adapter of this framework") from None
    except (UnsoundError, SafetensorError) as error:
        raise UserError(f"{path}: damaged ({error}); {AGAIN}") from None
    broken = [name for name, tensor in tensors.items() if not tensor.isfinite().all()]
    if broken:
        raise UserError(
            f"{path}: {len(broken)} of its tensors hold NaN or infinity, such as {broken[0]}; train with a lower "
            "optimizer.lr, or fetch it again"
        )
    return tensors, header


def _check_branch(branch: Mapping[str, Any], tensors: Mapping[str, Tensor]) -> None:
    """Refuse settings that no branch has, or that do not fit the tensors, before memory is taken for them."""
    others = [name for name, value in branch.items() if type(value) not in BRANCH.get(name, ())]
    if others:
        raise UnsoundError(f"its metadata hold branch.{others[0]}={str(branch[others[0]])[:40]}, which no branch has")
    whole = [name for name, tensor in tensors.items() if not tensor.is_floating_point()]
    if whole:
        raise UnsoundError(f"{whole[0]} holds {tensors[whole[0]].dtype}, where fractions were expected")
    shape = tuple(tensors[PROJECTION].shape) if PROJECTION in tensors else ()
    tokens, width = branch.get("num_tokens", 0), branch.get("embedding_dim")
    if len(shape) != 2 or shape[1] != width or not 2 <= tokens <= shape[0] or shape[0] % tokens:
        raise UnsoundError(f"{PROJECTION} of shape {shape} is not that of {tokens} tokens of embeddings of {width}")
    token = branch.get("token_width", "network")
    if token != "network" and token != shape[0] // tokens:
        raise UnsoundError(f"{PROJECTION} of shape {shape} is not that of {tokens} tokens of width {token}")


def write_adapter(path: Path, tensors: Mapping[str, Tensor], header: Mapping[str, Any]) -> None:
    """Write an adapter, whole or not at all; the same tensors and header give the same bytes."""
    header = {**header, "format": FORMAT}
    with atomic_path(path) as unfinished:
        unfinished.write_bytes(with_checksum(save(dict(tensors), {ENTRY: json.dumps(header, sort_keys=True)})))
