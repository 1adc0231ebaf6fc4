"""JSON that this package wrote, read again: what is damaged ends in a sentence, whatever the damage."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ppd_lightning.errors import UserError
from ppd_lightning.storage.atomic import write_json_atomic

CHECKSUM = "sha256"
"""The key of a file's own checksum, in those that `write_checked_json` writes."""


def read_json(path: Path, remedy: str) -> dict[str, Any]:
    """The object in a file.

    Args:
        remedy: what to do where it is damaged, in words.

    Raises:
        FileNotFoundError: there is no such file.
        UserError: it cannot be read, or is no JSON object.
    """
    try:
        if path.exists() and not path.is_file():  # to read a pipe may never end
            raise ValueError("it is no file, but a folder, a pipe or a device")
        values = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise
    except (OSError, ValueError, RecursionError) as error:
        raise UserError(f"{path}: damaged ({' '.join(str(error).split())}); {remedy}") from None
    if not isinstance(values, dict):
        raise UserError(f"{path}: damaged (expected an object, found {type(values).__name__}); {remedy}")
    return values


def write_checked_json(path: Path, values: Mapping[str, Any]) -> None:
    """As `write_json_atomic`, with a checksum of the values as the last of them."""
    write_json_atomic(path, {**values, CHECKSUM: _checksum(values)})


def read_checked_json(path: Path, remedy: str) -> dict[str, Any]:
    """What `write_checked_json` wrote, or an earlier version without a checksum.

    Raises:
        FileNotFoundError: there is no such file.
        UserError: it is damaged.
    """
    values = read_json(path, remedy)
    expected = values.pop(CHECKSUM, None)
    if expected is not None and expected != _checksum(values):
        raise UserError(f"{path}: damaged (its values do not have its checksum); {remedy}")
    return values


def _checksum(values: Mapping[str, Any]) -> str:
    text = json.dumps(values, sort_keys=True, ensure_ascii=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()
