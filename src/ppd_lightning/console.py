"""Tables on standard output: as wide as the terminal, or, piped into a file or program, as wide as they are."""

from __future__ import annotations

import os
import sys

from rich.console import Console

UNLIMITED = 10_000
"""Columns that no table needs; rich assumes 80 where there is no terminal, and cuts what does not fit."""


def table_console() -> Console:
    """The console that verbs print their tables on; the variable COLUMNS is heeded as everywhere."""
    limited = sys.stdout.isatty() or "COLUMNS" in os.environ
    return Console(width=None if limited else UNLIMITED)
