"""Captions from files: PartiPrompts' table, Pick-a-Pic's validation_unique, or a text file of one's own."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from ppd_lightning.errors import UserError

COLUMNS = {".tsv": "Prompt", ".csv": "caption", ".parquet": "caption"}
"""The column that holds the captions, by the end of the file's name; of .txt every line is one."""

EXPECTED = "expected .txt with a caption a line, .tsv with a column Prompt, or .csv or .parquet with a column caption"
FAULTS_LISTED = 10


def read_prompts(path: Path, key: str) -> list[str]:
    """The captions of a file in the order in which they first come; white space around them does not count.

    Args:
        path: of the file; what it is, its name's end says (COLUMNS).
        key: of the configuration that names it, for messages.

    Raises:
        UserError: the file is missing, damaged or of another kind, lacks its column, or rows have no caption.
    """
    kind = path.suffix.lower()
    if kind not in (".txt", *COLUMNS):
        raise UserError(f"{key}: {path} ends in none of .txt, {', '.join(COLUMNS)}; {EXPECTED}")
    try:
        found = list(_lines(path) if kind == ".txt" else _column(path, COLUMNS[kind], key))
    except FileNotFoundError:
        raise UserError(f"{key}: there is no file {path}; {EXPECTED}") from None
    except UnicodeDecodeError as error:
        raise UserError(f"{key}: {path} is no UTF-8 text ({error}); save it as UTF-8") from None
    except (OSError, ValueError, csv.Error, pa.ArrowException) as error:
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise UserError(f"{key}: {path} cannot be read ({reason}); {EXPECTED}") from None
    empty = [row for row, caption in found if not caption]
    if empty:
        faults = [f"{key}: {path}, row {row}: the column {COLUMNS[kind]} is empty" for row in empty[:FAULTS_LISTED]]
        more = len(empty) - FAULTS_LISTED
        raise UserError([*faults, f"{key}: {path}: and {more} rows more"] if more > 0 else faults)
    captions = list(dict.fromkeys(caption for _, caption in found))
    if not captions:
        raise UserError(f"{key}: {path} holds no caption; {EXPECTED}")
    return captions


def _lines(path: Path) -> Iterator[tuple[int, str]]:
    """The lines that are not blank, each with its number from 1."""
    for number, line in enumerate(path.read_text(encoding="utf-8-sig").splitlines(), 1):
        if line.strip():
            yield number, line.strip()


def _column(path: Path, column: str, key: str) -> Iterator[tuple[int, str]]:
    """The column of every row, "" where it is missing, each with the row's number from 1, the header not counted."""
    names, rows = (_parquet if path.suffix.lower() == ".parquet" else _separated)(path, column)
    if column not in names:
        raise UserError(f"{key}: {path} has no column {column}; it has {', '.join(names) or 'none'}")
    for number, value in enumerate(rows, 1):
        yield number, "" if value is None else str(value).strip()


def _separated(path: Path, column: str) -> tuple[list[str], Iterable[Any]]:
    text = io.StringIO(path.read_text(encoding="utf-8-sig"), newline="")
    if path.suffix.lower() == ".csv":
        reader = csv.DictReader(text, strict=True)
    else:  # quotes in PartiPrompts.tsv belong to the prompts
        reader = csv.DictReader(text, delimiter="\t", quoting=csv.QUOTE_NONE)
    return list(reader.fieldnames or ()), (row.get(column) for row in reader)


def _parquet(path: Path, column: str) -> tuple[list[str], Iterable[Any]]:
    with pq.ParquetFile(path) as file:
        names = list(file.schema_arrow.names)
        return names, file.read([column]).column(0).to_pylist() if column in names else ()
