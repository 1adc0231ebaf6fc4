"""Short names for what something was made from: equal inputs, equal fingerprint, on every machine."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from pathlib import Path
from typing import Any

DIGITS = 12


def fingerprint(value: Any) -> str:
    """12 hexadecimal digits of the SHA-256 of `value`'s canonical JSON.

    Args:
        value: dataclasses, mappings with string keys, sequences, strings, numbers, booleans, None and paths, nested.
            The order of a mapping does not count, that of a sequence does; a list equals a tuple, 1 is not 1.0.

    Raises:
        TypeError: something else is in it.
        ValueError: a number is not finite.
    """
    text = json.dumps(_plain(value), sort_keys=True, separators=(",", ":"), ensure_ascii=True, allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()[:DIGITS]


def file_sha256(path: Path) -> str:
    """The SHA-256 of a file's bytes, as 64 hexadecimal digits."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _plain(value: Any) -> Any:
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {field.name: _plain(getattr(value, field.name)) for field in dataclasses.fields(value)}
    if isinstance(value, dict):
        wrong = [key for key in value if not isinstance(key, str)]
        if wrong:
            raise TypeError(f"the keys of a mapping must be strings, not {wrong[0]!r}")
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    if isinstance(value, Path):
        return value.as_posix()
    if value is None or isinstance(value, (str, int, float)):
        return value
    raise TypeError(f"no fingerprint for a {type(value).__name__}: {value!r}")
