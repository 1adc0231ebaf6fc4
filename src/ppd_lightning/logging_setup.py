"""What a process tells as it works: lines on standard error, without secrets."""

from __future__ import annotations

import logging
import os
import sys
import traceback
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from types import TracebackType
from typing import TextIO

from ppd_lightning.masking import for_people

RUN = "PPD_RUN"
"""The environment variable that holds a sweep's run, such as 3/12: the ranks that a run starts inherit it."""


class StandardError(logging.StreamHandler[TextIO]):
    """Writes to what standard error is at the time: a progress bar replaces it, and shows the lines above itself."""

    def __init__(self) -> None:
        logging.Handler.__init__(self)

    @property
    def stream(self) -> TextIO:  # type: ignore[override]
        """Standard error as it is now."""
        return sys.stderr


class Lines(logging.Formatter):
    """Lines, and the tracebacks below them, as `masking.for_people` has them."""

    def format(self, record: logging.LogRecord) -> str:
        """See the base class."""
        return for_people(super().format(record))


def set_up_logging() -> None:
    """Plain lines with the time on standard error: ours from INFO, other libraries' from WARNING.

    In these, in warnings and in the traceback that ends a process secrets are masked.
    """
    handler = StandardError()
    handler.addFilter(_shown)
    handler.setFormatter(Lines("%(asctime)s %(run)s%(message)s", "%H:%M:%S"))
    logging.basicConfig(level=logging.INFO, handlers=[handler], force=True)
    sys.excepthook = _print_traceback
    warnings.formatwarning = _warning


@contextmanager
def lines_of_run(number: int, count: int) -> Iterator[None]:
    """While the block runs, each line begins with the run of a sweep, such as [run 3/12].

    Args:
        number: of the run in the sweep's table, where the first is 0.
        count: how many runs the sweep has.
    """
    before = os.environ.get(RUN)
    os.environ[RUN] = f"{number}/{count}"
    try:
        yield
    finally:
        if before is None:
            del os.environ[RUN]
        else:
            os.environ[RUN] = before


def _shown(line: logging.LogRecord) -> bool:
    line.run = f"[run {os.environ[RUN]}] " if RUN in os.environ else ""
    return line.name.startswith("ppd_lightning") or line.levelno >= logging.WARNING


def _print_traceback(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    print(for_people("".join(traceback.format_exception(kind, error, trace))), end="", file=sys.stderr)


def _warning(
    message: Warning | str, category: type[Warning], filename: str, lineno: int, line: str | None = None
) -> str:
    return for_people(f"{filename}:{lineno}: {category.__name__}: {message}\n")
