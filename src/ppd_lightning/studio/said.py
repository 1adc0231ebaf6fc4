"""What visitors say, checked and in its normal form, whatever the page lets them say."""

from __future__ import annotations

import math

from ppd_lightning.data.table_cells import caption_of
from ppd_lightning.errors import UserError
from ppd_lightning.settings.plain_text import plain_text

FORMULA = "=+-@\uff1d\uff0b\uff0d\uff20 "
"""With these a cell begins that spreadsheets compute, also in their wide forms."""


def caption_said(said: object, longest: int) -> str:
    """A caption of at most `longest` letters.

    Raises:
        UserError: it is empty, too long, or no text.
    """
    text = _text(said, "caption", longest)
    if not text:
        raise UserError("Write a caption first.")
    return text


def name_said(said: object, longest: int) -> str:
    """A name, or "" where none is given; never a formula, for tables of choices are opened in spreadsheets.

    Raises:
        UserError: it is too long, or no text.
    """
    return _text(said, "name", longest).lstrip(FORMULA)


def number_said(said: object, low: float, high: float) -> float:
    """A number, moved to between two others.

    Raises:
        UserError: it is none.
    """
    if not isinstance(said, int | float) or not math.isfinite(said):
        raise UserError("That is no number.")
    return float(min(high, max(low, said)))


def _text(said: object, what: str, longest: int) -> str:
    too_long = UserError(f"A {what} has at most {longest} letters.")
    unread = UserError(f"This {what} cannot be read. Please write it anew.")
    if not isinstance(said, str):
        raise unread
    if len(said) > 4 * longest:
        raise too_long
    try:
        text = caption_of(said) if what == "caption" else plain_text(said)
        text.encode()
    except ValueError:
        raise unread from None
    if len(text) > longest:
        raise too_long
    return text
