"""The state of a file: what would be another if its content were, as far as the file system says."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class FileState:
    """Path with links followed, inode, bytes and both times of change in ns; ctime is set by the system alone."""

    path: str
    inode: int
    size: int
    mtime_ns: int
    ctime_ns: int

    @classmethod
    def of(cls, path: Path) -> FileState:
        """The state of a file now.

        Raises:
            OSError: it is not there, or cannot be looked at.
        """
        real = os.path.realpath(path, strict=True)
        found = os.stat(real)
        return cls(real, found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns)
