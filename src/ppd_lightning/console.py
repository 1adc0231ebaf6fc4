"""Tables on standard output: as wide as the terminal, or, piped into a file or program, as wide as they are.

Names and settings in them are text: no markup, no emoji, no secrets, nothing that steers the terminal.
"""

from __future__ import annotations

import os
import sys
from typing import Any

from rich.console import Console
from rich.text import Text

from ppd_lightning.masking import for_people

UNLIMITED = 10_000
"""Columns that no table needs; rich assumes 80 where there is no terminal, and cuts what does not fit."""


class TextConsole(Console):
    """Prints texts as they are."""

    def render_str(self, text: str, **options: Any) -> Text:
        """See the base class."""
        return super().render_str(for_people(text), **options)


def table_console() -> TextConsole:
    """The console that verbs print their tables on; the variable COLUMNS is heeded as everywhere."""
    limited = sys.stdout.isatty() or "COLUMNS" in os.environ
    return TextConsole(width=None if limited else UNLIMITED, markup=False, emoji=False)
