"""Text and names in one form: what looks the same is the same.

Unicode has several ways to write one text (an é may be one character or two), and files hold further characters that
nobody sees. Captions and users' names are therefore compared, hashed, stored and encoded in one normal form.
"""

from __future__ import annotations

import math
import re
import unicodedata
from decimal import Decimal, InvalidOperation

UNSEEN = re.compile(
    r"[\x00-\x08\x0e-\x1b\x7f\x80-\x84\x86-\x9f\xad\u034f\u061c\u180e\u200b\u200e\u200f"
    r"\u202a-\u202e\u2060-\u206f\ufeff\ufff9-\ufffb]"
)
"""Characters without width that change nothing of a text: controls, soft hyphens, marks of order (file managers and
chats add them to what is copied)."""

JOINERS = re.compile(r"(?<![^\x00-\x7f])[\u200c\u200d]+")
"""Joiners with nothing to join: at the beginning and behind ASCII. Others stay, for letters of several scripts and
pictographs are made with them."""

WHOLE = re.compile(r"-?(0|[1-9]\d{0,30})\.0+|\d(\.\d+)?e\+\d{1,2}")
"""A whole number as text, as files of floats have it: 12.0, 1e+16."""

SHORTENED = re.compile(r"\d([.,]\d+)?E\+\d+")
"""A number as a spreadsheet shows it after its digits are lost."""

HALVES = re.compile("[\ud800-\udfff]")
"""Halves of characters, which text cut between two UTF-16 units ends with; no file in UTF-8 can hold them."""


def plain_text(text: str) -> str:
    """The normal form of a text: Unicode NFC, one space for each run of white space, none around it, nothing unseen."""
    seen = _spaced(UNSEEN.sub("", text))
    return seen if JOINERS.search(seen) is None else _spaced(JOINERS.sub("", seen))


def _spaced(text: str) -> str:
    return " ".join((text if text.isascii() else unicodedata.normalize("NFC", text)).split())


def user_name(value: object) -> str:
    """The name of a user who is called by a text or a number: 12, 12.0 and "12.0" are "12"; "" where there is none.

    Raises:
        ValueError: it is something else, with a sentence that begins after "the user".
    """
    if value is None or (isinstance(value, float | Decimal) and math.isnan(value)):
        return ""
    if isinstance(value, str):
        name = plain_text(value)
        half = HALVES.search(name)
        if half:
            raise ValueError(f"holds half a character (U+{ord(half[0]):X}); write the text anew, whole")
        if SHORTENED.fullmatch(name):
            raise ValueError(f"is {name}, a number whose last digits are lost; make its column one of text")
        number = Decimal(name) if WHOLE.fullmatch(name) else None
        return name if number is None or number != int(number) else str(int(number))
    if isinstance(value, int | float | Decimal) and not isinstance(value, bool):
        try:
            if value == (whole := int(value)):
                return str(whole)
        except (OverflowError, InvalidOperation, ValueError):
            pass  # infinite
        raise ValueError(f"must be a name or a whole number, not {value}")
    raise ValueError(f"must be a name or a whole number, not {kind_of(value)}")


def kind_of(value: object) -> str:
    """What a value is, in words that people know."""
    if isinstance(value, bool):
        return "true" if value else "false"
    kinds: tuple[tuple[type, str], ...] = ((list, "a list"), (dict, "an object"), (bytes, "bytes"), (str, "a text"))
    for kind, words in kinds:
        if isinstance(value, kind):
            return words
    return f"the number {value}" if isinstance(value, int | float | Decimal) else str(value)
