"""Leases: a file that one process holds and keeps fresh while it works, so that a process that died is noticed."""

from __future__ import annotations

import fcntl
import json
import logging
import math
import os
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from types import TracebackType

from ppd_lightning.storage.writers import lives, temporary_beside

log = logging.getLogger(__name__)

RENEWAL = 10.0
"""Seconds between two renewals of a lease."""

EXPIRY = 120.0
"""Seconds without a renewal after which a holder counts as dead, by the clock of the file system."""


@dataclass(frozen=True)
class Holder:
    """A process; `job` is the cluster's name of the job that it belongs to, or nothing."""

    host: str
    pid: int
    job: str = ""

    def __str__(self) -> str:
        return f"{f'job {self.job}, ' if self.job else ''}process {self.pid} on {self.host}"


def this_process() -> Holder:
    """The holder of the leases that are acquired here."""
    array, task = os.environ.get("SLURM_ARRAY_JOB_ID"), os.environ.get("SLURM_ARRAY_TASK_ID")
    job = f"{array}_{task}" if array and task else os.environ.get("SLURM_JOB_ID", "")
    return Holder(socket.gethostname(), os.getpid(), job)


def holder_of(path: Path) -> Holder | None:
    """The living process that holds the lease; None where there is none."""
    with suppress(FileNotFoundError):
        return _living(path)
    return None


def _living(path: Path) -> Holder | None:
    """The process that holds a lease that is there; None where it is dead.

    Raises:
        FileNotFoundError: there is no lease.
    """
    text = path.read_text(encoding="utf-8")
    if _age(path) > EXPIRY:
        return None
    try:
        holder = Holder(**json.loads(text))
    except (ValueError, TypeError):
        return Holder("an unknown machine", 0)  # the file was made this moment, or its writing was cut off
    return holder if _may_live(holder) else None


class Lease(AbstractContextManager["Lease"]):
    """Holds `path` while the block runs, after waiting for another living holder to release it.

    Args:
        path: the lease's file.
        pause: seconds between two attempts.
    """

    def __init__(self, path: Path, pause: float = 2.0) -> None:
        self.path, self.pause = path, pause
        self._end = threading.Event()

    def __enter__(self) -> Lease:
        logged = False
        while not self.acquire():
            if not logged and (holder := holder_of(self.path)) is not None:
                log.info("waiting for %s, which is at work on %s", holder, self.path.stem)
                logged = True
            time.sleep(self.pause)
        return self

    def acquire(self) -> bool:
        """Hold it from now on, until `release` or the end of this process; False where a living process holds it."""
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with _locked(self.path.parent):
            if not _create(self.path):
                if holder_of(self.path) is not None:
                    return False
                if not _replace_expired(self.path):
                    return False
        threading.Thread(target=self._renew, daemon=True).start()
        return True

    def release(self) -> None:
        """Stop renewing, and remove the file."""
        self._end.set()
        self.path.unlink(missing_ok=True)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.release()

    def _renew(self) -> None:
        while not self._end.wait(RENEWAL):
            with suppress(OSError):  # a file system that is away for a moment
                os.utime(self.path)


@contextmanager
def _locked(folder: Path) -> Iterator[None]:
    """One process at a time, where the file system has locks, as local ones do; a dying process releases its own."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        with suppress(OSError):
            fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def _create(path: Path) -> bool:
    """Create the file for this process; False where there is one."""
    try:
        descriptor = os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o666)
    except FileExistsError:
        return False
    with open(descriptor, "w", encoding="utf-8") as file:
        json.dump(asdict(this_process()), file)
    return True


def _replace_expired(path: Path) -> bool:
    """Put this process in the place of a dead holder; False where another one does.

    A second file says who is replacing, so that where there are no locks one of several does, and what it finds dead
    cannot be a living one's by the time that it is removed.
    """
    replacing = path.with_name(f".{path.name}.replacing")
    if not _create(replacing):
        with suppress(FileNotFoundError):  # it is done already
            if _living(replacing) is None:
                replacing.unlink()
        return False
    try:
        with suppress(FileNotFoundError):  # released since, and perhaps taken again
            if _living(path) is not None:
                return False
            path.unlink()
        return _create(path)
    finally:
        replacing.unlink(missing_ok=True)


def _may_live(holder: Holder) -> bool:
    """False where the process was on this machine and is gone; one on another machine dies by expiry only."""
    return holder.host != socket.gethostname() or lives(holder.pid)


def _age(path: Path) -> float:
    """Seconds since a file was renewed.

    By this machine's clock, where that makes sense; else a file that is written now tells what time the file system
    has, whose clock may differ by any amount. Where it was renewed in the future even so, a clock was set back: a
    living holder renews it soon.
    """
    found = path.stat().st_mtime
    age = _by_clock(path)
    if age < -EXPIRY:
        time.sleep(2 * RENEWAL)
        age = math.inf if path.stat().st_mtime == found else 0.0
    return age


def _by_clock(path: Path) -> float:
    age = time.time() - path.stat().st_mtime
    if not 0 <= age <= EXPIRY / 2:
        probe = temporary_beside(path)
        with suppress(OSError):  # of somebody else's folder, where nothing can be written
            try:
                probe.write_bytes(b"?")
                return probe.stat().st_mtime - path.stat().st_mtime
            finally:
                probe.unlink(missing_ok=True)
    return age
