"""Files that are there whole or not at all, whenever a process is killed."""

from __future__ import annotations

import json
import os
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any


@contextmanager
def atomic_path(path: Path, *, named: Callable[[Path], str] | None = None) -> Iterator[Path]:
    """Give a temporary path beside `path` to write a file to; when the block ends, that file takes `path`'s place.

    Missing parent folders are made. If the block raises, `path` is untouched and the temporary file is removed.

    Args:
        path: of the file.
        named: gives its name instead of `path`'s, from what was written.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    # The suffix stays last: writers such as numpy.save and safetensors look at it.
    temporary = path.with_name(f".{path.stem}.{uuid.uuid4().hex[:8]}{path.suffix}")
    try:
        yield temporary
        with temporary.open("rb") as file:
            os.fsync(file.fileno())
        os.replace(temporary, path if named is None else path.with_name(named(temporary)))
    finally:
        temporary.unlink(missing_ok=True)
    _sync_folder(path.parent)


def write_text_atomic(path: Path, text: str) -> None:
    """Write `text` as UTF-8 with the line ends it has."""
    with atomic_path(path) as temporary:
        temporary.write_text(text, encoding="utf-8", newline="")


def write_json_atomic(path: Path, value: Any) -> None:
    """Write `value` as indented JSON in the order it has.

    Raises:
        ValueError: a number is not finite, which JSON does not know.
    """
    write_text_atomic(path, json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False) + "\n")


def _sync_folder(folder: Path) -> None:
    """Make the new name itself last through a power cut; only POSIX opens folders."""
    if os.name == "posix":
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
