"""Tables in JSON: an object a line (JSONL), an array of objects, or objects over several lines each."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any

from ppd_lightning.data.table_text import text_lines
from ppd_lightning.errors import UserError

Row = tuple[int, dict[str, Any] | str]
SPACE = re.compile(r"[ \t\r\n]*")
UNFINISHED = ("{", "[", ",", ":")
"""A first line that ends so begins a value that goes on below."""


def json_rows(file: Any, url: str) -> tuple[list[str], Iterator[Row]]:
    """The names of all rows' columns, and the rows: the line where each begins, and its cells or what is wrong with it.

    Raises:
        UserError: it is no text, or no JSON in a way that hides where rows begin; with the line.
    """
    first = next((line.strip() for line in text_lines(file, url) if line.strip()), "")
    whole = first.startswith("[") or first.endswith(UNFINISHED)
    rows = list(_whole("".join(text_lines(file, url)), url)) if whole else None
    names: dict[str, None] = {}
    for _, row in rows if rows is not None else _lines(file, url):
        if not isinstance(row, str):
            names.update(dict.fromkeys(row))
    return list(names), iter(rows) if rows is not None else _lines(file, url)


def json_object(file: Any, url: str) -> list[tuple[str, Any]] | None:
    """The keys and values of a file that is one JSON object, repeated keys too; None where it is something else.

    Raises:
        UserError: it is no text.
    """
    try:
        found = json.loads("".join(text_lines(file, url)), object_pairs_hook=_Pairs)
    except (ValueError, RecursionError):
        return None
    return list(found) if isinstance(found, _Pairs) else None


class _Pairs(list[tuple[str, Any]]):
    """An object, before repeated keys are lost."""


def _lines(file: Any, url: str) -> Iterator[Row]:
    """The rows of a file with an object a line; lines and objects without any text are not there."""
    for line, text in enumerate(text_lines(file, url), 1):
        if text.strip():
            try:
                row = _row(json.loads(text, object_pairs_hook=_once))
            except (ValueError, RecursionError) as error:
                row = _fault(error)
            if not is_blank(row):
                yield line, row


def _whole(text: str, url: str) -> Iterator[Row]:
    """The objects of an array, or those that follow on each other, each with the line where it begins."""
    decoder = json.JSONDecoder(object_pairs_hook=_once)
    position = _after_space(text, 0)
    is_array = text.startswith("[", position)
    position, line, counted = _after_space(text, position + is_array), 1, 0
    while position < len(text) and not (is_array and text[position] == "]"):
        line, counted = line + _line_ends(text, counted, position), position
        try:
            value, position = decoder.raw_decode(text, position)
        except json.JSONDecodeError as error:
            raise UserError(f"{url}: line {error.lineno}: {_fault(error)}") from None
        except (ValueError, RecursionError) as error:
            raise UserError(f"{url}: line {line}: {_fault(error)}") from None
        row = _row(value)
        if not is_blank(row):
            yield line, row
        position = _after_space(text, position)
        if is_array and text.startswith(",", position):
            position = _after_space(text, position + 1)
        elif is_array and not text.startswith("]", position):
            what = "a comma is missing behind this object" if position < len(text) else "the array never ends"
            raise UserError(f"{url}: line {line}: is no JSON array ({what}); see whether the file is whole")
    if is_array and not text.startswith("]", position):
        raise UserError(f"{url}: line {line}: is no JSON array (it never ends); see whether the file is whole")
    if text[position + is_array :].strip():
        raise UserError(f"{url}: line {line + _line_ends(text, counted, position)}: more follows on the array's end")


def is_blank(row: dict[str, Any] | str) -> bool:
    """Whether a row has no cell with anything in it, as spreadsheets leave some."""
    return not isinstance(row, str) and all(_nothing(value) for value in row.values())


def _nothing(value: Any) -> bool:
    return value is None or value != value or (isinstance(value, str) and not value.strip())


def _after_space(text: str, position: int) -> int:
    found = SPACE.match(text, position)
    return position if found is None else found.end()


def _line_ends(text: str, begin: int, end: int) -> int:
    return text.count("\n", begin, end) or text.count("\r", begin, end)


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in names if names.count(name) > 1)
        raise ValueError(f"the key {twice} comes twice")
    return found


def _row(value: Any) -> dict[str, Any] | str:
    return value if isinstance(value, dict) else 'is no JSON object; a row is one, such as {"caption": "a cat"}'


def _fault(error: Exception) -> str:
    if isinstance(error, RecursionError):
        return "is no row (brackets in brackets, too deep); expected a JSON object"
    if isinstance(error, json.JSONDecodeError):
        return f"is no JSON ({error.msg} at column {error.colno}); expected an object a line, or an array of objects"
    return f"is no JSON ({error}); expected an object a line, or an array of objects"
