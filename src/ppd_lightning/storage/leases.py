"""Who is at work on something: a file that its owner keeps fresh, so that an owner who died is found out."""

from __future__ import annotations

import json
import logging
import os
import socket
import threading
import time
import uuid
from contextlib import AbstractContextManager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from types import TracebackType

log = logging.getLogger(__name__)

BEAT = 10.0
"""Seconds between two signs of life."""

SILENCE = 120.0
"""Seconds without one after which an owner counts as dead; network file systems and clocks are late by less."""


@dataclass(frozen=True)
class Owner:
    """A process; `job` is the cluster's name of the job that it belongs to, or nothing."""

    host: str
    pid: int
    job: str = ""

    def __str__(self) -> str:
        return f"{f'job {self.job}, ' if self.job else ''}process {self.pid} on {self.host}"


def this_process() -> Owner:
    """The owner of what is claimed here."""
    array, task = os.environ.get("SLURM_ARRAY_JOB_ID"), os.environ.get("SLURM_ARRAY_TASK_ID")
    job = f"{array}_{task}" if array and task else os.environ.get("SLURM_JOB_ID", "")
    return Owner(socket.gethostname(), os.getpid(), job)


def owner_of(path: Path) -> Owner | None:
    """Whoever holds the claim and is alive; None where nobody does."""
    try:
        silent = time.time() - path.stat().st_mtime
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        return None
    if silent > SILENCE:
        return None
    try:
        owner = Owner(**json.loads(text))
    except (ValueError, TypeError):
        return Owner("a machine that has not said its name yet", 0)  # made this moment, or cut off in being made
    return owner if _may_live(owner) else None


class Claim(AbstractContextManager["Claim"]):
    """Holds `path` while the block runs, after waiting for another living owner to let go.

    Args:
        pause: seconds between two attempts.
    """

    def __init__(self, path: Path, pause: float = 2.0) -> None:
        self.path, self.pause = path, pause
        self._end = threading.Event()

    def __enter__(self) -> Claim:
        told = False
        while not self.take():
            if not told and (owner := owner_of(self.path)) is not None:
                log.info("waiting for %s, which is at work on %s", owner, self.path.stem)
                told = True
            time.sleep(self.pause)
        return self

    def take(self) -> bool:
        """Hold it from now on, until `release` or this process's end; False where a living owner has it."""
        if not _take(self.path) and (owner_of(self.path) is not None or not _take(self.path)):
            return False
        threading.Thread(target=self._beat, daemon=True).start()
        return True

    def release(self) -> None:
        """Let go of what is held."""
        self._end.set()
        self.path.unlink(missing_ok=True)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.release()

    def _beat(self) -> None:
        while not self._end.wait(BEAT):
            with suppress(OSError):  # a file system that is away for a moment
                os.utime(self.path)


def _take(path: Path) -> bool:
    """Make the file as one's own; False where a living owner has it or others were quicker."""
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        descriptor = os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY)
    except FileExistsError:
        if owner_of(path) is None:
            _bury(path)
        return False
    with open(descriptor, "w", encoding="utf-8") as file:
        json.dump(asdict(this_process()), file)
    return True


def _bury(path: Path) -> None:
    """Remove a dead owner's file. Moved aside first: of several that try, one gets it, and a living one goes back."""
    grave = path.with_name(f".{path.name}.{uuid.uuid4().hex[:8]}")
    with suppress(FileNotFoundError):
        path.rename(grave)
        if owner_of(grave) is None:
            grave.unlink()
        else:
            grave.rename(path)


def _may_live(owner: Owner) -> bool:
    """False where the process is one of this machine's and is gone; of other machines only silence tells."""
    if owner.host != socket.gethostname() or os.name != "posix":
        return True
    try:
        os.kill(owner.pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:  # somebody else's, so it is there
        return True
    state = Path(f"/proc/{owner.pid}/stat")  # of Linux: a dead one that nobody has waited for is a zombie
    return not state.exists() or state.read_text().rpartition(")")[2].split()[0] != "Z"
