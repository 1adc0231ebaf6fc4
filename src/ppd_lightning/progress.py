"""How far a long command is: a bar where there is a terminal, plain lines where there is none."""

from __future__ import annotations

import logging
import sys
import time
from contextlib import AbstractContextManager
from types import TracebackType

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn

log = logging.getLogger(__name__)

PAUSE = 30.0
"""Seconds between plain lines."""

NARROW = 110
"""Columns of a terminal below which the bar is short, so that the figures have room."""

DESCRIPTION = "{task.description}"


class Counted(AbstractContextManager["Counted"]):
    """Shows how many of `total` things are done, how many a second, and the time left.

        with Counted("images", total, done=already) as counted:
            counted.add(64)

    The rate is that since the beginning of the block: what was done before it tells nothing.

    Args:
        done: how many are done already.
        bar: whether a terminal gets a bar; else it gets plain lines too.
    """

    def __init__(self, what: str, total: int, *, done: int = 0, bar: bool = True) -> None:
        self.what, self.total, self.done = what, total, done
        self._before, self._since = done, time.monotonic()
        self._reported = self._since
        self._bar: Progress | None = None
        if bar and sys.stderr.isatty():
            console = Console(stderr=True)
            columns = (BarColumn(10 if console.width < NARROW else 40), TaskProgressColumn(), TextColumn(DESCRIPTION))
            self._bar = Progress(*columns, console=console, transient=True)
            self._task = self._bar.add_task(what, total=total, completed=done)

    def __enter__(self) -> Counted:
        if self._bar is not None:
            self._bar.start()
        return self

    def add(self, count: int, figures: str = "") -> None:
        """Note that `count` more are done, here or by another process; a bar shows `figures` in place of the counts."""
        self.done += count
        now = time.monotonic()
        if self._bar is not None:
            self._bar.update(self._task, completed=self.done, description=self._words(now, figures))
        elif now - self._reported >= PAUSE:
            self._reported = now
            log.info("%s", self._words(now))

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._bar is not None:
            self._bar.stop()
        if kind is None:
            log.info("%s", self._words(time.monotonic()))

    def _words(self, now: float, figures: str = "") -> str:
        rate = (self.done - self._before) / max(now - self._since, 1e-9)
        speed = f"{rate:.{0 if rate >= 10 else 1}f}"
        counts = f"{self.what} {self.done}/{self.total}, {speed} a second"
        words = f"{figures}, {speed} {self.what}/s" if figures else counts
        if not rate or self.done >= self.total:
            return words
        return f"{words}, {_duration((self.total - self.done) / rate)} left"


def _duration(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes:02} min" if hours else f"{minutes} min {rest:02} s" if minutes else f"{rest} s"
