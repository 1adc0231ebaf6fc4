"""Tables on standard output: as wide as the terminal, or, piped into a file or program, as wide as they are.

Names and settings in them are text: no markup, no secrets, nothing that steers the terminal.
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
        """See the base class; nothing in the text is looked for, so names between colons stay too."""
        layout = {name: options[name] for name in ("style", "justify", "overflow") if options.get(name) is not None}
        return Text(for_people(text), **layout)


def table_console() -> TextConsole:
    """The console that verbs print their tables on; the variable COLUMNS is heeded as everywhere."""
    limited = sys.stdout.isatty() or "COLUMNS" in os.environ
    return TextConsole(width=None if limited else UNLIMITED)
