"""How a command ends that does not come to its end: the lines for people, and the exit code."""

from __future__ import annotations

import dataclasses
import io
import os
import select
import stat
import sys
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from ppd_lightning import signals
from ppd_lightning.errors import CLOSED_PIPE, USER_MISTAKE, MachineError, UserError
from ppd_lightning.machine_faults import FAILED, MachineFault, error_number, fault_of, path_of
from ppd_lightning.signals import Stopped

SCARCE = 1 << 20
"""Bytes: a file system with fewer free ones counts as full."""

KEPT = "what was finished is kept"


@dataclass(frozen=True)
class Ending:
    """What is said, a line each, and the exit code."""

    lines: list[str]
    code: int


_work: dict[str, Any] = {"verb": "", "config": None}


def at_work(verb: str, config: Any) -> None:
    """Keep what is being done, for the words that may be needed about its end."""
    _work.update(verb=verb, config=config)


def ended_by(error: BaseException) -> Ending | None:
    """The ending that an exception is; None for a bug, which keeps its traceback."""
    if isinstance(error, UserError):
        return Ending(error.faults, USER_MISTAKE)
    stop = error if isinstance(error, Stopped) else signals.stopping()  # whatever broke when it was stopped
    if stop is None and isinstance(error, KeyboardInterrupt):
        stop = Stopped(2)
    if stop is not None:
        verb = f" in {_work['verb']}" if _work["verb"] else ""
        return Ending(
            [f"stopped by {stop.name}{verb}: {signals.saved() or KEPT}; the same command goes on from there"], stop.code
        )
    if _is_closed_pipe(error):
        return Ending([], CLOSED_PIPE)
    fault = machine_fault(error)
    return None if fault is None else Ending([fault.sentence], fault.code)


def machine_fault(error: BaseException) -> MachineFault | None:
    """The fault of the machine that an exception is; the configuration at work says which key a path comes from."""
    if isinstance(error, MachineError):
        return MachineFault(str(error), FAILED)
    config = _work["config"]
    keys = {} if config is None else dict(_paths(dataclasses.asdict(config)))
    if isinstance(error, OSError) and error_number(error) is not None and not path_of(error):
        error.filename = _output_fault() or next((name for name in _written_to(keys) if _is_full(name)), None)
    return fault_of(error, keys)


def open_what_is_closed() -> None:
    """Put nothing where standard input, output or errors were closed.

    Else the next file that is opened takes their number, and what is printed would be written into it.
    """
    for number, (name, mode) in enumerate((("stdin", "r"), ("stdout", "w"), ("stderr", "w"))):
        try:
            os.fstat(number)
        except OSError:
            nowhere = os.open(os.devnull, os.O_RDWR)
            os.dup2(nowhere, number)
            if nowhere != number:
                os.close(nowhere)
            os.set_inheritable(number, True)
        if getattr(sys, name) is None:
            setattr(sys, name, os.fdopen(number, mode, closefd=False))


def write_anything() -> None:
    """Let standard output take every letter: what its encoding lacks is escaped."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


def quiet_output() -> None:
    """Flush; what nobody reads or no disk holds is forgotten, or Python would complain of it at its end."""
    for stream in (sys.stdout, sys.stderr):
        try:
            if stream is not None:
                stream.flush()
        except (OSError, ValueError):
            with suppress(OSError, ValueError):
                nowhere = os.open(os.devnull, os.O_WRONLY)
                os.dup2(nowhere, stream.fileno())
                os.close(nowhere)


def _is_closed_pipe(error: BaseException) -> bool:
    """Whether standard output was closed by who reads it; rich makes a SystemExit of that."""
    broken = error if isinstance(error, BrokenPipeError) else error.__context__
    if not isinstance(broken, BrokenPipeError) or not isinstance(error, (BrokenPipeError, SystemExit)):
        return False
    if isinstance(error, SystemExit):
        return True
    with suppress(OSError, ValueError, AttributeError):
        output = select.poll()
        output.register(sys.stdout.fileno(), 0)
        return bool(output.poll(0))
    return False


def _output_fault() -> str | None:
    """What cannot be written to, where it is the output itself: on a full disk, or a device that takes nothing."""
    with suppress(OSError, ValueError, AttributeError):
        number = sys.stdout.fileno()
        kind = os.fstat(number).st_mode
        room = os.fstatvfs(number)
        if stat.S_ISREG(kind) and room.f_bavail * room.f_frsize < SCARCE:
            return "standard output"
        if stat.S_ISCHR(kind) and not os.isatty(number):
            try:
                os.write(number, b"\n")
            except OSError:
                return "standard output"
    return None


def _paths(values: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, str]]:
    """The keys whose values may be paths."""
    for name, value in values.items():
        if isinstance(value, Mapping):
            yield from _paths(value, f"{prefix}{name}.")
        elif isinstance(value, str) and (name == "output" or os.sep in value):
            yield f"{prefix}{name}", value


def _written_to(keys: Mapping[str, str]) -> list[str]:
    """Where files are written that have no name in an error."""
    return [*keys.values(), os.environ.get("TMPDIR", "/tmp"), "/dev/shm", os.path.expanduser("~")]


def _is_full(path: str) -> bool:
    with suppress(OSError):
        room = os.statvfs(path)
        return room.f_blocks > 0 and room.f_bavail * room.f_frsize < SCARCE
    return False
