"""Safetensors files that travel alone: with a checksum of their tensors and of what they say of them, in the metadata.

The metadata's one entry is JSON; its key `sha256` is the checksum of the header without it and of all tensors' bytes.
An export carries this module.
"""

from __future__ import annotations

import hashlib
import json
import struct
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import load, save

from ppd_lightning.storage.atomic import atomic_path

ENTRY = "ppd_lightning"
"""The key of the one entry in a file's metadata: safetensors writes several in an order of its own each time."""
CHECKSUM = "sha256"
METADATA = "__metadata__"
LARGEST = 100_000_000
"""Bytes of a header; safetensors reads no larger one."""


class UnsoundError(ValueError):
    """A file is damaged, or no safetensors file; says how."""


class OtherKindError(ValueError):
    """A safetensors file holds something else."""


def with_checksum(data: bytes) -> bytes:
    """A safetensors file's bytes, whose entry is a JSON object, with the checksum in that entry."""
    header, tensors = _split(data)
    entry = json.loads(header[METADATA][ENTRY])
    header[METADATA][ENTRY] = json.dumps({**entry, CHECKSUM: _checksum(header, entry, tensors)}, sort_keys=True)
    text = json.dumps(header, separators=(",", ":"), ensure_ascii=False).encode()
    text += b" " * (-len(text) % 8)
    return struct.pack("<Q", len(text)) + text + tensors


def read_checked(path: Path, kind: str, earlier: str | None = None) -> tuple[bytes, dict[str, Any]]:
    """A file's bytes and its entry.

    Args:
        kind: the entry's `format`.
        earlier: that of earlier versions, whose files have no checksum and pass; "" is a file without metadata.

    Raises:
        FileNotFoundError: there is no such file.
        UnsoundError: it is damaged, or no safetensors file.
        OtherKindError: its format is another.
    """
    try:
        if path.exists() and not path.is_file():  # to read a pipe may never end
            raise UnsoundError("it is no file, but a folder, a pipe or a device")
        data = path.read_bytes()
    except FileNotFoundError:
        raise
    except OSError as error:
        raise UnsoundError(error.strerror or str(error)) from error
    header, tensors = _split(data)
    try:
        entry = json.loads(header.get(METADATA, {}).get(ENTRY, "{}"))
        expected = entry.pop(CHECKSUM, None)
        found = entry.get("format") if METADATA in header else ""
    except (ValueError, TypeError, AttributeError, RecursionError):
        raise UnsoundError("its metadata are not the expected JSON") from None
    if found not in (kind, earlier) or found is None:
        raise OtherKindError(str(found))
    if expected is None and found == kind:
        raise UnsoundError("its checksum is missing")
    if expected is not None and expected != _checksum(header, entry, tensors):
        raise UnsoundError("its content does not have its checksum")
    return data, entry


def write_arrays(path: Path, arrays: Mapping[str, np.ndarray], entry: Mapping[str, Any]) -> None:
    """Write a file of arrays and its entry, whole or not at all; the same ones give the same bytes."""
    tensors = {name: np.ascontiguousarray(array) for name, array in arrays.items()}
    with atomic_path(path) as unfinished:
        unfinished.write_bytes(with_checksum(save(tensors, {ENTRY: json.dumps(entry, sort_keys=True)})))


def read_arrays(path: Path, kind: str, earlier: str | None = None) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
    """A file's arrays and its entry; arguments and faults as of `read_checked`.

    Raises:
        UnsoundError: also where an array holds NaN or infinity.
    """
    data, entry = read_checked(path, kind, earlier)
    try:
        arrays = load(data)
    except SafetensorError as error:
        raise UnsoundError(str(error)) from None
    broken = [name for name, array in arrays.items() if not np.isfinite(array).all()]
    if broken:
        raise UnsoundError(f"NaN or infinity in {', '.join(broken)}")
    return arrays, entry


def is_checked(path: Path) -> bool:
    """Whether a file has a checksum, or is too damaged to say; only its header is read."""
    try:
        with path.open("rb") as file:
            start = file.read(8)
            size = struct.unpack("<Q", start)[0] if len(start) == 8 else 0
            text = file.read(size) if size <= LARGEST else b""
        return CHECKSUM in json.loads(json.loads(text)[METADATA][ENTRY])
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return True


def _split(data: bytes) -> tuple[dict[str, Any], memoryview]:
    """The header and the tensors' bytes."""
    size = struct.unpack("<Q", data[:8])[0] if len(data) >= 8 else 0
    if not 2 <= size <= min(LARGEST, len(data) - 8):
        raise UnsoundError("cut short, or not a safetensors file")
    try:
        header = json.loads(data[8 : 8 + size])
    except (ValueError, RecursionError):
        raise UnsoundError("its header is no JSON, so it is cut short or not a safetensors file") from None
    if not isinstance(header, dict):
        raise UnsoundError("its header is no JSON object")
    return header, memoryview(data)[8 + size :]


def _checksum(header: dict[str, Any], entry: dict[str, Any], tensors: memoryview) -> str:
    metadata = {**header[METADATA], ENTRY: entry}
    text = json.dumps({**header, METADATA: metadata}, sort_keys=True, separators=(",", ":"))
    digest = hashlib.sha256(text.encode())
    digest.update(tensors)
    return digest.hexdigest()
