"""Files that are there whole or not at all, whenever a process is killed."""

from __future__ import annotations

import errno
import filecmp
import json
import os
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from ppd_lightning.machine_faults import AWAY, CUT_OFF, error_number
from ppd_lightning.signals import deferred
from ppd_lightning.storage.writers import sweep, temporary_beside

_SWEPT: set[tuple[int, str]] = set()
"""The folders where this process looked for what killed ones had left."""

FORBIDDEN = (errno.EROFS, errno.EACCES, errno.EPERM)
"""Nothing may be written: the file system is read-only, or the folder somebody else's."""

PROBE = b"\0" * (1 << 16)


@contextmanager
def atomic_path(path: Path, *, named: Callable[[Path], str] | None = None) -> Iterator[Path]:
    """Give a temporary path beside `path` to write a file to; when the block ends, that file takes `path`'s place.

    Missing parent folders are made. If the block raises, `path` is untouched and the temporary file is removed. What a
    killed process left in the folder is removed. The file's mode is what the umask (or the folder's default) gives,
    whatever its writer gave it. Where nothing may be written (somebody else's results), a file that comes out as it is
    there already stays, and is no fault.

    Args:
        path: of the file.
        named: gives its name instead of `path`'s, from what was written.

    Raises:
        OSError: with `path`, also where a library raised something else for a full disk.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    if (os.getpid(), str(path.parent)) not in _SWEPT:
        _SWEPT.add((os.getpid(), str(path.parent)))
        sweep(path.parent)
    temporary = temporary_beside(path)
    try:
        try:
            mode = _created(temporary)
        except OSError as error:
            if error.errno not in FORBIDDEN or named is not None or not path.is_file():
                raise
            with _compared(path, error) as elsewhere:
                yield elsewhere
            return
        yield temporary
        with deferred():
            if temporary.stat().st_mode != mode:
                temporary.chmod(mode & 0o7777)
            with temporary.open("rb") as file:
                os.fsync(file.fileno())
            os.replace(temporary, path if named is None else path.with_name(named(temporary)))
            _sync_folder(path.parent)
    except Exception as error:
        fault = _about(error, path, temporary)
        if fault is error:
            raise
        raise fault from error
    finally:
        with deferred(), suppress(OSError):
            temporary.unlink(missing_ok=True)


@contextmanager
def _compared(path: Path, refused: OSError) -> Iterator[Path]:
    """Give a file elsewhere; what was refused is raised where that does not become the same as is there."""
    with tempfile.TemporaryDirectory() as folder:
        temporary = Path(folder) / f"new{path.suffix}"
        temporary.touch()
        yield temporary
        if not filecmp.cmp(temporary, path, shallow=False):
            raise refused


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


def _created(temporary: Path) -> int:
    """Create the file, empty; the mode that a file gets here."""
    with temporary.open("xb") as file:
        return os.fstat(file.fileno()).st_mode


def _about(error: Exception, path: Path, temporary: Path) -> Exception:
    """What was raised, or the same as an `OSError` that names the file."""
    if isinstance(error, OSError) and error.errno is not None:
        unnamed = error.filename is None and error.errno not in AWAY
        if unnamed or {os.fspath(temporary), temporary} & {error.filename, error.filename2}:
            error.filename, error.filename2 = os.fspath(path), None
        return error
    number = _of_probe(temporary) if any(words in str(error) for words in CUT_OFF) else error_number(error)
    return error if number is None else OSError(number, os.strerror(number), os.fspath(path))


def _of_probe(temporary: Path) -> int:
    """Why nothing more can be written here; torch only says that it cannot."""
    try:
        with temporary.open("ab") as file:
            file.write(PROBE)
            file.flush()
            os.fsync(file.fileno())
    except OSError as error:
        return error.errno or errno.EIO
    return errno.ENOSPC  # there is room again, or there was none for as much as it wanted


def _sync_folder(folder: Path) -> None:
    """Make the new name itself last through a power cut; only POSIX opens folders, and some cannot be synced."""
    if os.name == "posix":
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            with suppress(OSError):
                os.fsync(descriptor)
        finally:
            os.close(descriptor)
