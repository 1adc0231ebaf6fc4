"""What cells of tables mean: captions, users, choices, words, lists. What a column cannot mean is a fault of the row.

Every function raises a ValueError with a sentence that begins after the column's name.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from decimal import Decimal
from typing import Any, TypeVar

from ppd_lightning.settings.plain_text import HALVES, kind_of, plain_text, user_name

T = TypeVar("T")

LETTERS = 100_000
"""Letters of a cell that are read; a longer one is another thing by mistake."""

NAME_LETTERS = 1_000
"""Letters of a user's name."""

ZEROS = re.compile(r"[.,]0+")
"""What numbers that are whole have behind the point, in columns of numbers with gaps or decimals."""

SWITCHES = {"false": "0", "true": "1"}


def caption_of(value: Any) -> str:
    """The caption in its normal form (`plain_text`), which is what is stored, compared and read by encoders."""
    return plain_text(words_of(value))


def words_of(value: Any) -> str:
    """The text as it stands there; "" where there is none."""
    if is_missing(value):
        return ""
    if not isinstance(value, str):
        raise ValueError(f"must be text, not {kind_of(value)}")
    return _sound(value, LETTERS)


def user_of(value: Any) -> str:
    """The name of a user (`plain_text.user_name`); "" where there is none."""
    return _sound(user_name(value), NAME_LETTERS)


def label_of(value: Any) -> str:
    """A name or number that groups rows; "" where there is none."""
    return _sound(value.strip(), LETTERS) if isinstance(value, str) else user_name(value)


def choice_of(value: Any) -> str:
    """0, 1 or tie as text, or else the text that stands there; numbers, switches and their texts count as 0 and 1."""
    if is_missing(value):
        return ""
    if isinstance(value, bool | int | float | Decimal):
        value = str(int(value)) if value in (0, 1) else str(value)
    if not isinstance(value, str):
        return kind_of(value)
    said = plain_text(value).lower()
    whole = ZEROS.search(said)
    return SWITCHES.get(said, said[: whole.start()] if whole and whole.end() == len(said) else said)


def path_of(value: Any) -> str:
    """The path of an image, of a struct of bytes and path the path; "" where there is none, as for bytes."""
    said = value.get("path") if isinstance(value, Mapping) else value
    if is_missing(said) or isinstance(said, bytes):
        return ""
    if not isinstance(said, str):
        raise ValueError(f"must be the path of an image, not {kind_of(said)}")
    return _sound(said.strip(), NAME_LETTERS * 8)


def list_of(value: Any) -> list[Any]:
    """A list, as JSON and parquet have them."""
    if is_missing(value):
        raise ValueError("is empty; expected a list")
    if not isinstance(value, list):
        raise ValueError(f"must be a list, as JSON and parquet have them, not {kind_of(value)}")
    return value


def read_as(name: str, meaning: Callable[[Any], T], value: Any) -> T:
    """What a value means.

    Raises:
        ValueError: it means nothing, with a sentence that begins with `name`.
    """
    try:
        return meaning(value)
    except ValueError as error:
        raise ValueError(f"{name} {error}") from None


def filled(meaning: Callable[[Any], str]) -> Callable[[Any], str]:
    """The same meaning of cells that must say something."""

    def read(value: Any) -> str:
        text = meaning(value)
        if not text:
            raise ValueError("is empty")
        return text

    return read


def is_missing(value: Any) -> bool:
    """Whether a cell holds nothing: null, or the number that is none."""
    return value is None or (isinstance(value, float | Decimal) and value != value)


def _sound(text: str, limit: int) -> str:
    half = HALVES.search(text)
    if half:
        raise ValueError(f"holds half a character (U+{ord(half[0]):X}); write the text anew, whole")
    if len(text) > limit:
        raise ValueError(f"has {len(text):,} letters; at most {limit:,} are read")
    return text
