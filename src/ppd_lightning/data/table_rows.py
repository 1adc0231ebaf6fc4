"""The one reader of tables that people give: pairs, choices to describe by, captions, words about users.

| end of the name | form |
|---|---|
| .csv, .tsv | a header, then rows; commas, semicolons or tabs, whichever the header has most of |
| .jsonl, .ndjson, .json | an object a line, an array of objects, or objects over several lines |
| .parquet | of any writer |

Text is UTF-8 or UTF-16 (`table_text`). Names of columns are found whatever their case, and with spaces for underscores.
"""

from __future__ import annotations

import posixpath
import re
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from ppd_lightning.data.remote import Location, first_line, require_file, without_query
from ppd_lightning.data.table_csv import csv_rows
from ppd_lightning.data.table_json import json_rows
from ppd_lightning.data.table_parquet import parquet_rows
from ppd_lightning.errors import UserError
from ppd_lightning.settings.plain_text import plain_text

SEPARATED, JSON, PARQUET = (".csv", ".tsv"), (".jsonl", ".ndjson", ".json"), (".parquet",)
KINDS = (*SEPARATED, *JSON, *PARQUET)
"""The ends of names of tables."""

FAULTS_NAMED = 20
"""Of a table with more faults, the first are named, and the others counted."""

OF_ROW = re.compile(r": (?:line|row) \d")
"""Stands in a message about one row."""

NAMES_LISTED = 20
"""Of a table with more columns, the first are named in messages."""

Row = tuple[int, Mapping[str, Any] | str]
"""Where a row is (the line of text where it ends, of JSON where it begins, or the row of a parquet file, from 1), and
its cells by column; or what is wrong with it."""

Choose = Callable[[Sequence[str]], Collection[str]]
"""Given all names of columns, those whose cells are wanted; raises a UserError where some are lacking."""


def table_rows(table: Location, key: str, choose: Choose) -> Iterator[Row]:
    """Every row of a table that holds anything.

    Args:
        table: the file.
        key: of the configuration that names it, for messages.
        choose: of the columns; others may be among the cells.

    Raises:
        UserError: the table is missing or no table, `choose` refuses its columns, or it cannot be read to its end.
    """
    kind = kind_of_table(table, key)
    with opened(table, key) as file:
        if kind in PARQUET:
            yield from parquet_rows(file, table.url, choose)
            return
        header, rows = (csv_rows if kind in SEPARATED else json_rows)(file, table.url)
        if header:
            choose(header)
        yield from rows


def kind_of_table(table: Location, key: str) -> str:
    """The end of a table's name, in small letters.

    Raises:
        UserError: no such files are read.
    """
    kind = posixpath.splitext(without_query(table.path))[1].lower()
    if kind not in KINDS:
        raise UserError(f"{key}: {table.url} is none of {', '.join(KINDS)}")
    return kind


@contextmanager
def opened(table: Location, key: str) -> Iterator[Any]:
    """The file of a table, binary.

    Raises:
        UserError: there is no such regular file, or what reads it (in the `with` block) finds it damaged.
    """
    if table.is_local:
        require_file(table.path, key)
    try:
        file = table.open_itself(in_parts=without_query(table.path).lower().endswith(PARQUET))
    except (FileNotFoundError, IsADirectoryError, NotADirectoryError):
        raise UserError(f"{key}: there is no file {table.url}") from None
    with file:
        try:
            yield file
        except (OSError, ValueError) as error:  # pyarrow's are among these
            raise UserError(f"{table.url}: damaged, or not what its name says ({first_line(error)})") from error


def find_columns(
    table: Location, header: Sequence[str], wanted: Mapping[str, Sequence[str]], named: Mapping[str, str] | None = None
) -> dict[str, str]:
    """The table's names of those wanted columns that it has, by their usual names.

    Args:
        header: the table's names.
        wanted: the names by which each column is found, the first that is there, by its usual name.
        named: the table's own names, by the usual name, where somebody says so.

    Raises:
        UserError: a column is there twice.
    """
    exact: dict[str, list[str]] = {}
    alike: dict[str, list[str]] = {}
    for own in header:
        exact.setdefault(own, []).append(own)
        alike.setdefault(_loose(own), []).append(own)
    found: dict[str, str] = {}
    faults = []
    for usual, names in wanted.items():
        for name in (named[usual],) if named and usual in named else names:
            same = exact.get(name, []) or alike.get(_loose(name), [])
            if len(same) > 1:
                faults.append(f"{table.url}: the column {name} is there {len(same)} times; rename or remove the others")
            if same:
                found[usual] = same[0]
                break
    if faults:
        raise UserError(faults)
    return found


def in_words(header: Sequence[str]) -> str:
    """The columns of a table, for messages."""
    named = [name if len(name) <= 40 else f"{name[:40]}..." for name in header[:NAMES_LISTED]]
    more = len(header) - NAMES_LISTED
    return (", ".join(named) or "none") + (f" and {more:,} more" if more > 0 else "")


@contextmanager
def named_by(key: str, expected: str) -> Iterator[None]:
    """Begin the faults of what is read within by the key that names the file, and say what is expected of a whole file.

    Args:
        expected: words that begin with "expected".
    """
    try:
        yield
    except UserError as error:
        faults = [fault.removeprefix(f"{key}: ") for fault in error.faults]
        more = f"; {expected}" if len(faults) == 1 and not OF_ROW.search(faults[0]) else ""
        raise UserError([f"{key}: {fault}{more}" for fault in faults]) from None


def refuse(table: Location, faults: Iterable[tuple[int, str]]) -> None:
    """Raise a `UserError` that names the first of these faults (line, sentence) and counts them; none is no error."""
    refuse_places(table, [(table.place(line), fault) for line, fault in sorted(faults)])


def refuse_places(table: Location, faults: Iterable[tuple[str, str]]) -> None:
    """As `refuse`, of faults with their places, in their order; what is said twice is said once."""
    messages = list(dict.fromkeys(f"{table.url}: {place}: {fault}" for place, fault in faults))
    if len(messages) > FAULTS_NAMED:
        messages[FAULTS_NAMED:] = [f"{table.url}: and {len(messages) - FAULTS_NAMED} faults more"]
    if messages:
        raise UserError(messages)


def _loose(name: str) -> str:
    return plain_text(name).casefold().replace(" ", "_").replace("-", "_")
