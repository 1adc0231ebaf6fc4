"""What a process does when it is asked to stop: by SIGTERM, SIGINT, SIGHUP, SIGUSR1 or SIGUSR2.

It raises `Stopped` where it is; within `deferred` it first comes to the end of what must not be cut, within a grace
time. A second signal ends it at once. Python and libraries swallow exceptions in some places, as in `__del__` and in
parts of an import: where that happened to `Stopped`, it is raised again. A handler that somebody else has set
(submitit's, which queues a job again) is not replaced: it is called when this process would stop.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
import weakref
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType
from typing import Any

ANSWERED = (signal.SIGHUP, signal.SIGINT, signal.SIGTERM, signal.SIGUSR1, signal.SIGUSR2)

GRACE = 20.0
"""Seconds from a signal to the stop, at most; schedulers kill after 30."""
AGAIN = 0.5
"""Seconds within which the same signal is one event: a terminal, a shell and `timeout` send it two times."""
LOST = 0.5
"""Seconds from the end of a `Stopped` that nobody handled to the next one."""


class Stopped(KeyboardInterrupt):
    """The process was asked to stop.

    Args:
        number: of the signal.
    """

    def __init__(self, number: int) -> None:
        super().__init__(number)
        self.number = number

    @property
    def name(self) -> str:
        """Of the signal, such as SIGTERM."""
        return signal.Signals(self.number).name

    @property
    def code(self) -> int:
        """The exit code of the process, as a shell gives it."""
        return 128 + self.number


@dataclass
class _State:
    """Of the process `pid`. asked: the signal that is not acted on yet; since: when it came; stopped: one was acted on.

    before: the handlers that were there; depth: of `deferred`; due: the signal is acted on now, deferred or not;
    meanwhile: see `deferred`; single: a second signal is not heeded; raised: the `Stopped`, as long as there is one.
    """

    pid: int = 0
    before: dict[int, Any] = field(default_factory=dict)
    asked: int | None = None
    since: float = 0.0
    stopped: bool = False
    due: bool = False
    depth: int = 0
    meanwhile: Callable[[int], None] | None = None
    single: bool = False
    saved: str = ""
    raised: weakref.ref[Stopped] | None = None


_state = _State()


@contextmanager
def answering(*, single: bool = False) -> Iterator[bool]:
    """Answer signals until the block ends; what was ignored stays ignored (nohup), and others' handlers are called.

    Only in the main thread, and once a process: the block is told whether it is the one that does.

    Args:
        single: do not heed a second signal, in a process of which another one decides when it must end.
    """
    global _state
    if _state.pid == os.getpid() or threading.current_thread() is not threading.main_thread():
        yield False
        return
    outer, _state = _state, _State(os.getpid(), single=single)
    for number in map(int, ANSWERED):
        before = signal.getsignal(number)
        if before not in (signal.SIG_IGN, None):
            _state.before[number] = signal.SIG_DFL if before is _handle else before
            signal.signal(number, _handle)
    own, hook = _state, sys.unraisablehook

    def unraisable(swallowed: Any) -> None:
        if not isinstance(swallowed.exc_value, Stopped):
            hook(swallowed)

    sys.unraisablehook = unraisable
    try:
        yield True
    finally:
        if sys.unraisablehook is unraisable:
            sys.unraisablehook = hook
        for number, before in own.before.items():
            if signal.getsignal(number) is _handle:
                signal.signal(number, before)
        _state = outer


@contextmanager
def deferred(meanwhile: Callable[[int], None] | None = None) -> Iterator[None]:
    """Nothing stops within the block, but at its end, where it calls `act`, or when the grace time is over.

    Args:
        meanwhile: is called with the signal, in a thread of its own; when it returns the process stops.
    """
    if threading.current_thread() is not threading.main_thread():  # signals come to the main thread alone
        yield
        return
    before, _state.meanwhile = _state.meanwhile, meanwhile or _state.meanwhile
    _state.depth += 1
    try:
        yield
    finally:
        _state.depth -= 1
        _state.meanwhile = before
        if not _state.depth:
            act()


def asked() -> int | None:
    """The signal that waits to be acted on."""
    return _state.asked


def stopping() -> Stopped | None:
    """The stop that is under way, whatever else is raised on the way."""
    return Stopped(_state.asked) if _state.stopped and _state.asked is not None else None


def act() -> None:
    """Do what the waiting signal asks for, if there is one.

    Raises:
        Stopped: where nobody else has a handler for it.
    """
    number = _state.asked
    if number is None or _state.stopped:
        return
    other = _state.before.get(number)
    _state.due = False
    if callable(other) and other is not signal.default_int_handler:
        _state.asked = None
        other(number, None)
        return
    _state.stopped = True
    stop, state = Stopped(number), _state
    state.raised = weakref.ref(stop, lambda _: _look_again(state, number))
    try:
        raise stop
    finally:
        del stop  # else it would live in this frame, which its traceback holds


def _look_again(state: _State, number: int) -> None:
    """A `Stopped` is no more: raise another one if the process goes on all the same."""

    def again() -> None:
        if state is _state and state.stopped:
            state.stopped, state.due = False, True
            signal.pthread_kill(_main_thread(), number)

    if state is _state:
        timer = threading.Timer(LOST, again)
        timer.daemon = True
        timer.start()


def ask(number: int, *, now: bool = False) -> None:
    """Ask this process to stop, from any of its threads, as a signal does; `now` waits for no end of anything."""
    if now:
        _state.due = True
        _state.asked = number if _state.asked is None else _state.asked
    if now or _state.asked is None:
        signal.pthread_kill(_main_thread(), number)


def note_saved(what: str) -> None:
    """Keep what was saved, in words, for the line that says so."""
    _state.saved = what


def saved() -> str:
    """What `note_saved` was given."""
    return _state.saved


def _handle(number: int, frame: FrameType | None) -> None:
    if os.getpid() != _state.pid:
        _in_fork(number)
        return
    other, now = _state.before.get(number), time.monotonic()
    foreign = callable(other) and other is not signal.default_int_handler
    if _state.stopped or (_state.asked is not None and not _state.due):
        if not foreign and not _state.single and now - _state.since > AGAIN:
            _end_at_once(number)
        return
    if _state.asked is None:
        _state.asked, _state.since = number, now
    if _state.depth and not _state.due:
        threading.Thread(target=_wait, args=(_state, number, _state.meanwhile), daemon=True).start()
        return
    act()


def _wait(state: _State, number: int, meanwhile: Callable[[int], None] | None) -> None:
    """Let the time pass that a deferral has, then act on the signal in the main thread."""
    try:
        if meanwhile is None:
            time.sleep(GRACE)
        else:
            meanwhile(number)
    finally:
        if state is _state and state.asked == number and not state.stopped:
            state.due = True
            signal.pthread_kill(_main_thread(), number)


def _main_thread() -> int:
    ident = threading.main_thread().ident
    assert ident is not None
    return ident


def _in_fork(number: int) -> None:
    """In a process that was forked here: who forked it ends it, by SIGTERM."""
    if number == signal.SIGTERM:
        signal.signal(number, signal.SIG_DFL)
        os.kill(os.getpid(), number)


def _end_at_once(number: int) -> None:
    """End this process and all that it has started."""
    for child in descendants(os.getpid()):
        with suppress(OSError):
            os.kill(child, signal.SIGKILL)
    with suppress(OSError):
        name = signal.Signals(number).name
        os.write(2, f"ppd: ended at once by a second signal, {name}; the same command goes on from there\n".encode())
    with suppress(Exception):
        sys.stdout.flush()
    os._exit(128 + number)


def descendants(process: int) -> list[int]:
    """The processes that it has started, and theirs; none where there is no /proc."""
    found: list[int] = []
    for file in Path(f"/proc/{process}/task").glob("*/children"):
        with suppress(OSError):
            for child in map(int, file.read_text().split()):
                found += [child, *descendants(child)]
    return found
