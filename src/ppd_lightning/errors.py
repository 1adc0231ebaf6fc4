"""Mistakes that a person can mend, as opposed to bugs."""

from __future__ import annotations

from collections.abc import Iterable

USER_MISTAKE = 2
CLOSED_PIPE = 141
"""Exit codes of `ppd`; 1 is anything else that failed, 128 + N a stop by signal N."""


class MachineError(Exception):
    """The machine lacks something (room, memory, a GPU): one sentence, shown without a traceback, exit code 1."""


class UserError(Exception):
    """One or more faults of the input: a message each, shown without a traceback, exit code 2.

    Args:
        faults: one sentence a fault, saying where it is, what was expected and what to do.
    """

    def __init__(self, faults: str | Iterable[str]) -> None:
        self.faults = [faults] if isinstance(faults, str) else list(faults)
        super().__init__("\n".join(self.faults))
