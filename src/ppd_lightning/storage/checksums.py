"""Checksums of a finished folder, in a file of the form of `sha256sum`, written last: what is read again is compared.

    # 2 files; SHA-256 of the lines below: 5f3c...
    9d1e...  adapter.safetensors
    77ab...  summary.json

`sha256sum -c` reads it too. A folder without it, or with one that is cut, is not finished. That of a training is called
.done; an empty one is of a version that noted no checksums.
"""

from __future__ import annotations

import errno
import hashlib
from collections.abc import Iterable
from pathlib import Path

from ppd_lightning.errors import UserError
from ppd_lightning.storage.atomic import write_text_atomic
from ppd_lightning.storage.file_state import FileState
from ppd_lightning.storage.fingerprints import file_sha256

SUMS = "SHA256SUMS"
DONE = ".done"
"""The file's name in the folder of a training; elsewhere it is SUMS."""
SHORT = 12
"""Digits of a checksum in messages."""

_known: dict[FileState, str] = {}


def known_sha256(path: Path) -> str:
    """`file_sha256`, read once a process for as long as the file's state stays.

    Raises:
        OSError: it cannot be read.
    """
    state = FileState.of(path)
    if not path.is_file():  # to read a pipe may never end
        raise OSError(errno.EINVAL, "it is no file, but a folder, a pipe or a device", str(path))
    if state not in _known:
        _known[state] = file_sha256(path)
    return _known[state]


def write_checksums(folder: Path, names: Iterable[str], checksums: str = SUMS) -> None:
    """Note the checksums of these files of `folder`, which are finished with it; those that are not there are left out.

    Args:
        names: relative to the folder, with /.
        checksums: the name of the file that holds them.
    """
    there = sorted(name for name in dict.fromkeys(names) if (folder / name).is_file())
    lines = "".join(f"{known_sha256(folder / name)}  {name}\n" for name in there)
    write_text_atomic(folder / checksums, f"{_head(lines)}\n{lines}")


def read_checksums(folder: Path, checksums: str = SUMS) -> dict[str, str] | None:
    """The checksums by name; none of an empty file; None where there is no such file, or it is cut or damaged."""
    try:
        text = (folder / checksums).read_text(encoding="utf-8")
    except (OSError, ValueError):
        return None
    head, _, lines = text.partition("\n")
    if not text:
        return {}
    if head != _head(lines):
        return None
    return {name: digest for digest, _, name in (line.partition("  ") for line in lines.splitlines())}


def checksum_faults(folder: Path, names: Iterable[str] | None = None, checksums: str = SUMS) -> list[str]:
    """What no longer is as it was when the folder was finished, a sentence a file, without an end.

    Args:
        names: the files that are looked at; None is all that were noted.
        checksums: the name of the file that holds them.
    """
    noted = read_checksums(folder, checksums)
    if noted is None:
        path = folder / checksums
        return [f"{path}: damaged (cut, or not what was written)" if path.exists() else f"{path}: missing"]
    chosen = noted if names is None else [name for name in names if name in noted]
    return [fault for name in chosen if (fault := _fault(folder / name, noted[name]))]


def require_checksums(folder: Path, names: Iterable[str], remedy: str, checksums: str = SUMS) -> None:
    """Refuse files of a finished folder that are not as they were; nothing where no checksums were noted.

    Args:
        remedy: what to do, in words, for the message.

    Raises:
        UserError: a file is missing or differs, or what was noted is damaged; all of them are named.
    """
    if (folder / checksums).exists() and (faults := checksum_faults(folder, names, checksums)):
        raise UserError(f"{fault}; {remedy}" for fault in faults)


def require_there(folder: Path, remedy: str, checksums: str = SUMS) -> None:
    """Refuse a finished folder that lacks one of its files, whose bytes are not read; see `require_checksums`."""
    noted = read_checksums(folder, checksums) or {}
    require_checksums(folder, [name for name in noted if not (folder / name).exists()], remedy, checksums)


def note_checksum(path: Path) -> None:
    """Write the checksum of one file beside it, with the suffix .sha256, in the form of `sha256sum`."""
    write_text_atomic(path.with_suffix(".sha256"), f"{known_sha256(path)}  {path.name}\n")


def noted_fault(path: Path) -> str | None:
    """What no longer is as `note_checksum` found it; None where nothing, or nothing was noted (by earlier versions)."""
    try:
        noted = path.with_suffix(".sha256").read_text(encoding="utf-8")
    except FileNotFoundError:
        return None
    except (OSError, ValueError):
        noted = ""
    expected, _, name = noted.rstrip("\n").partition("  ")
    return _fault(path, expected) if name == path.name else f"{path.with_suffix('.sha256')}: damaged"


def _fault(path: Path, expected: str) -> str | None:
    try:
        found = known_sha256(path)
    except FileNotFoundError:
        return f"{path}: missing"
    except OSError as error:
        return f"{path}: cannot be read ({error.strerror or error})"
    if found == expected:
        return None
    return f"{path}: damaged (its SHA-256 was {expected[:SHORT]}... and is {found[:SHORT]}... now)"


def _head(lines: str) -> str:
    count = lines.count("\n")
    return f"# {count} files; SHA-256 of the lines below: {hashlib.sha256(lines.encode()).hexdigest()}"
