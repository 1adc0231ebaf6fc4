"""SHA-256 of files of weights, remembered from one command to the next: those of a real model are gigabytes.

A JSON for each state of a large file, in `ppd-lightning/sha256` below $XDG_CACHE_HOME (else ~/.cache). A state is the
path, inode, size and both times of change: mtime, which anybody can set back, and ctime, which only the system sets. So
a file whose bytes changed has another state. Three things are not noticed: a disk that returns other bytes than were
written, a file system that keeps no ctime, and a writer that maps the file into memory and has not flushed it yet. So
this is for what a store or a score was made of. Results are compared byte by byte (`storage.checksums`), never by this.
Whoever wants all files to be read again removes the folder.
"""

from __future__ import annotations

import logging
import os
import time
from dataclasses import asdict
from pathlib import Path

from ppd_lightning.errors import UserError
from ppd_lightning.storage.file_state import FileState
from ppd_lightning.storage.fingerprints import file_sha256, fingerprint
from ppd_lightning.storage.json_files import read_checked_json, write_checked_json

log = logging.getLogger(__name__)

LARGE = 64 * 1024 * 1024
"""Bytes. Smaller files are read each time, which takes less than 0.1 s."""
SETTLED = 10.0
"""Seconds. What changed since is not remembered: times of change are coarse, and clocks of file servers differ."""


def remembered_sha256(path: Path) -> str:
    """`file_sha256`, without reading a large file that is as it was when its hash was noted.

    A memory that is damaged or cannot be written costs time and nothing else.

    Raises:
        OSError: the file cannot be read.
    """
    state = FileState.of(path)
    if state.size < LARGE:
        return file_sha256(path)
    note = _note(state)
    if note is not None and (noted := _noted(note, state)):
        return noted
    settled = time.time() - max(state.mtime_ns, state.ctime_ns) / 1e9 > SETTLED
    found = file_sha256(path)
    if note is not None and settled and FileState.of(path) == state:
        try:
            write_checked_json(note, {"of": asdict(state), "found": found})
        except OSError as error:
            log.debug("the SHA-256 of %s is not remembered: %s", path, error)
    return found


def _note(state: FileState) -> Path | None:
    """The file that holds the hash of a state; None where nobody's home is known."""
    cache = os.environ.get("XDG_CACHE_HOME", "")
    try:
        folder = Path(cache) if os.path.isabs(cache) else Path.home() / ".cache"
    except RuntimeError:
        return None
    return folder / "ppd-lightning" / "sha256" / f"{fingerprint(asdict(state))}.json"


def _noted(note: Path, state: FileState) -> str | None:
    try:
        values = read_checked_json(note, "it is made again")
    except (OSError, UserError):
        return None
    found = values.get("found")
    return found if values.get("of") == asdict(state) and isinstance(found, str) else None
