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
NEEDED = ("branch", "base", "metadata")
"""What a header has beside its format."""
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
        absent = [name for name in NEEDED if name not in header]
        if absent:
            raise UnsoundError(f"its metadata lack {', '.join(absent)}")
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


def write_adapter(path: Path, tensors: Mapping[str, Tensor], header: Mapping[str, Any]) -> None:
    """Write an adapter, whole or not at all; the same tensors and header give the same bytes."""
    header = {**header, "format": FORMAT}
    with atomic_path(path) as unfinished:
        unfinished.write_bytes(with_checksum(save(dict(tensors), {ENTRY: json.dumps(header, sort_keys=True)})))
