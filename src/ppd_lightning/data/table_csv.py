"""Tables with separators: CSV with commas, semicolons or tabs, as spreadsheets and programs of any country write it."""

from __future__ import annotations

import csv
import re
from collections.abc import Iterator
from itertools import chain
from typing import Any, Literal

from ppd_lightning.data.table_text import text_lines
from ppd_lightning.errors import UserError

DELIMITERS = {",": "commas", ";": "semicolons", "\t": "tabs"}
"""What separates fields; the header's most frequent one counts."""

FIELD = 16 << 20
"""Letters that a field may have; a quote that is never closed makes one of all that follows."""

HINT = re.compile(r"\ufeff?\"?sep=([,;\t])\"?\s*", re.IGNORECASE)
"""A first line by which Excel is told the separator."""


def csv_rows(file: Any, url: str) -> tuple[list[str], Iterator[tuple[int, dict[str, Any] | str]]]:
    """The names of the columns, and the rows: the line where each ends, and its cells by name or what is wrong with it.

    Rows without any text, and empty columns behind the last, are not there: spreadsheets write them.

    Raises:
        UserError: it is no text, or its quotes do not close; with the line.
    """
    csv.field_size_limit(FIELD)
    skipped, first, delimiter = _header_line(file, url)
    if not first:
        return [], iter(())
    delimiter = delimiter or max(DELIMITERS, key=lambda one: len(next(csv.reader([first], delimiter=one), [])))
    quoting: Literal[0, 3] = csv.QUOTE_MINIMAL
    if delimiter == "\t" and not _closes(file, url):
        quoting = csv.QUOTE_NONE  # quotes in PartiPrompts.tsv belong to the prompts
    lines = text_lines(file, url)
    for _ in range(skipped):
        next(lines)
    rows = _records(csv.reader(lines, delimiter=delimiter, quoting=quoting, strict=True), url, skipped)
    header = [name.strip().removeprefix("\ufeff") for name in next(rows)[1]]
    return header, _named(rows, header, DELIMITERS[delimiter])


def _header_line(file: Any, url: str) -> tuple[int, str, str]:
    """The lines above the header, the header's first line ("" if there is none), the separator if a line names it."""
    delimiter = ""
    for number, line in enumerate(text_lines(file, url)):
        hint = HINT.fullmatch(line)
        if hint:
            delimiter = hint[1]
        elif line.strip(' \t\r\n,;"'):
            return number, line, delimiter
    return 0, "", ""


def _closes(file: Any, url: str) -> bool:
    """Whether quotes of a table with tabs enclose fields, as CSV's do."""
    try:
        for _ in csv.reader(text_lines(file, url), delimiter="\t", strict=True):
            pass
    except csv.Error:
        return False
    return True


def _records(reader: Any, url: str, skipped: int) -> Iterator[tuple[int, list[str]]]:
    """The records that hold any text, each with the line where it ends."""
    while True:
        begin = reader.line_num + skipped + 1
        try:
            record = next(reader)
        except StopIteration:
            return
        except csv.Error as error:
            raise UserError(f"{url}: line {begin}: {_what(str(error))}") from None
        if any(map(str.strip, record)):
            yield reader.line_num + skipped, record


def _what(reason: str) -> str:
    if "unexpected end" in reason:
        return "a quote opens here and never closes; double quotes that belong to a text, and put it in quotes"
    if "field limit" in reason:
        return f"a field has more than {FIELD:,} letters; see whether a quote here never closes"
    return f"is no row of a CSV table ({reason}); double quotes that belong to a text, and put it in quotes"


def _named(
    rows: Iterator[tuple[int, list[str]]], header: list[str], separators: str
) -> Iterator[tuple[int, dict[str, Any] | str]]:
    width, missing = len(header), [None] * len(header)
    for line, record in rows:
        if any(map(str.strip, record[width:])):
            yield line, f"has more fields than the header; put a text with {separators} in quotes"
        else:
            yield line, dict(zip(header, chain(record, missing), strict=False))
