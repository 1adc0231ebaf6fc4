"""Who writes a temporary file or folder: its name says so, so that what a killed process left is known as such."""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import socket
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import cache
from pathlib import Path

ABANDONED = 24 * 3600.0
"""Seconds after which a temporary file of another machine counts as left over."""

NAME = re.compile(r"\..*\.(?P<machine>[0-9a-f]{8})-(?P<process>\d+)-[0-9a-f]{6}(?:\.[^.]*)?")
LONGEST = 140
"""Bytes of a temporary name: file systems allow 255, encrypted ones 143."""


def temporary_beside(path: Path) -> Path:
    """A new name in the folder of `path`, hidden, with its suffix last and this process in it."""
    end = f".{_machine()}-{os.getpid()}-{uuid.uuid4().hex[:6]}{path.suffix}"
    stem = path.stem.encode("utf-8", "surrogateescape")[: max(0, LONGEST - len(end.encode()))]
    return path.with_name(f".{stem.decode('utf-8', 'ignore')}{end}")


@contextmanager
def temporary_folder(path: Path) -> Iterator[Path]:
    """Give a new folder beside `path`, which is removed when the block ends, as is what killed processes left there."""
    path.parent.mkdir(parents=True, exist_ok=True)
    sweep(path.parent)
    folder = temporary_beside(path)
    folder.mkdir()
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def sweep(folder: Path) -> None:
    """Remove what processes of this machine that are gone left unfinished, and very old things of other machines.

    Files of a living process are never touched, whosever it is; pids of another container or of the time before a
    restart mean nothing here.
    """
    with suppress(OSError):
        for path in folder.iterdir():
            found = NAME.fullmatch(path.name) if path.name.startswith(".") else None
            if found is None:
                continue
            with suppress(OSError):
                if found["machine"] == _machine():
                    left = not lives(int(found["process"]))
                else:
                    left = time.time() - path.stat().st_mtime > ABANDONED
                if left and path.is_dir() and not path.is_symlink():
                    shutil.rmtree(path)
                elif left:
                    path.unlink()


def lives(process: int) -> bool:
    """Whether a process of this machine is there and not dead already, waiting for its parent to look."""
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except PermissionError:  # another user's, so it is there
        return True
    except OverflowError:
        return False
    state = Path(f"/proc/{process}/stat")  # on Linux: a dead process that nobody has waited for is a zombie
    with suppress(OSError, IndexError):
        return not state.exists() or state.read_text().rpartition(")")[2].split()[0] not in "ZX"
    return False


@cache
def _machine() -> str:
    """Stands for what gives pids their meaning: the machine since its start, and the container in it."""
    parts = [socket.gethostname()]
    with suppress(OSError):
        parts.append(Path("/proc/sys/kernel/random/boot_id").read_text().strip())
    with suppress(OSError):
        parts.append(os.readlink("/proc/self/ns/pid"))
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()[:8]
