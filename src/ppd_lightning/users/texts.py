"""Tables of texts about users."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from ppd_lightning.data.remote import Location, location
from ppd_lightning.data.table_cells import user_of, words_of
from ppd_lightning.data.table_json import json_object
from ppd_lightning.data.table_rows import find_columns, in_words, kind_of_table, named_by, opened, refuse, table_rows
from ppd_lightning.errors import UserError

NAMES = {"user": ("user", "user_id"), "text": ("text",)}
"""The columns, and the names by which they are found."""

PROFILES = {"user": ("user",), "text": ("profile",), "set": ("set",)}
"""Those of the table that `ppd embed` leaves with user=vlm, a row for each set of a user's choices."""

EXPECTED = "expected JSON of names and texts, or a CSV, TSV, JSON or parquet table with the columns user and text"

TextRow = tuple[int, Any, Any, str]
"""Line, user, text, and the name of the set of choices."""


def read_texts(path: str | Path, key: str = "user.texts", *, profiles: bool = False) -> dict[str, str]:
    """The text of each user, by name (`plain_text.user_name`).

    Args:
        path: JSON of names and texts, or a table with the columns user and text.
        key: of the configuration that names it, for messages.
        profiles: read the table that `ppd embed` leaves with user=vlm, too: of each user the text of the first set.

    Raises:
        UserError: the file is missing, damaged or has another form, a text is empty, or a user comes twice.
    """
    with named_by(key, EXPECTED):
        table = location(path, key)
        faults: list[tuple[int, str]] = []
        found: dict[str, tuple[str, str]] = {}
        for line, user, text, choices in _rows(table, key, faults, profiles):
            try:
                name = user_of(user)
            except ValueError as error:
                faults.append((line, f"user {error}"))
                continue
            try:
                words = _words(text)
            except ValueError as error:
                faults.append((line, f"no text of the user {user}{error}"))
                continue
            if not name:
                faults.append((line, "user is empty"))
            elif name in found and not choices:
                faults.append((line, f"the user {name} comes twice"))
            elif name not in found or choices < found[name][0]:
                found[name] = choices, words
        refuse(table, faults)
        if not found:
            raise UserError(f"{table.url} holds no rows")
        return {name: words for name, (_, words) in found.items()}


def _words(text: Any) -> str:
    """A user's text; a ValueError that goes on after "no text of the user" if there is none."""
    try:
        words = words_of(text)
    except ValueError as error:
        raise ValueError(f": it {error}") from None
    if not words.strip():
        raise ValueError
    return words


def _rows(table: Location, key: str, faults: list[tuple[int, str]], profiles: bool) -> Iterator[TextRow]:
    """The rows; what is none is added to the faults."""
    columns: dict[str, str] = {}

    def choose(header: Sequence[str]) -> list[str]:
        written = find_columns(table, header, PROFILES) if profiles else {}
        columns.update(written if len(written) == len(PROFILES) else find_columns(table, header, NAMES))
        lacking = [name for name in NAMES if name not in columns]
        if lacking:
            raise UserError(f"{table.url} lacks the columns {', '.join(lacking)}; it has {in_words(header)}")
        return list(columns.values())

    if kind_of_table(table, key) == ".json":
        with opened(table, key) as file:
            pairs = json_object(file, table.url)
        if pairs is not None and {name for name, _ in pairs} != set(NAMES):
            yield from ((number, user, text, "") for number, (user, text) in enumerate(pairs, 1))
            return
    for line, row in table_rows(table, key, choose):
        if isinstance(row, str):
            faults.append((line, row))
        else:
            yield line, row.get(columns["user"]), row.get(columns["text"]), str(row.get(columns.get("set", ""), ""))
