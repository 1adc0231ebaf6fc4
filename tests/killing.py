"""Death by kill -9 at a chosen moment of a process's work."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from typing import Any


def killed_at(moment: int, work: Callable[..., Any], *arguments: Any) -> None:
    """Do the work, and die of kill -9 at the `moment`th time that a file takes its place."""
    before, seen = os.replace, iter(range(1, 1000))

    def replaced(source: Any, target: Any) -> None:
        if next(seen) == moment:
            os.kill(os.getpid(), signal.SIGKILL)
        before(source, target)

    os.replace = replaced  # type: ignore[assignment]
    work(*arguments)
