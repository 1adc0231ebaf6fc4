"""Mistakes that a person can mend, as opposed to bugs."""

from __future__ import annotations

from collections.abc import Iterable

from ppd_lightning.masking import for_people

USER_MISTAKE = 2
CLOSED_PIPE = 141
"""Exit codes of `ppd`; 1 is anything else that failed, 128 + N a stop by signal N."""


class MachineError(Exception):
    """The machine lacks something (room, memory, a GPU): one sentence, shown without a traceback, exit code 1."""


LONGEST = 4000
"""Letters of a fault; what somebody's file holds can be longer, and its middle is left out."""


class UserError(Exception):
    """One or more faults of the input: a message each, shown without a traceback, exit code 2.

    Secrets are masked in them, and characters that steer a terminal made visible (`masking.for_people`).

    Args:
        faults: one sentence a fault, saying where it is, what was expected and what to do.
    """

    def __init__(self, faults: str | Iterable[str]) -> None:
        self.faults = [_readable(fault) for fault in ([faults] if isinstance(faults, str) else faults)]
        super().__init__("\n".join(self.faults))


def _readable(fault: str) -> str:
    text = for_people(fault)
    return text if len(text) <= LONGEST else f"{text[: LONGEST // 2]} [...] {text[-LONGEST // 4 :]}"
