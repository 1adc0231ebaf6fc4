"""Captions from files: PartiPrompts' table, Pick-a-Pic's validation_unique, or a text file of one's own."""

from __future__ import annotations

import posixpath
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from ppd_lightning.data.remote import Location, location
from ppd_lightning.data.table_cells import caption_of
from ppd_lightning.data.table_rows import KINDS, find_columns, in_words, named_by, opened, refuse, table_rows
from ppd_lightning.data.table_text import text_lines
from ppd_lightning.errors import UserError
from ppd_lightning.settings.plain_text import plain_text

NAMES = {"caption": ("caption", "prompt")}
"""The column that holds the captions, and the names by which it is found; of .txt every line is one."""

EXPECTED = "expected .txt with a caption a line, or a CSV, TSV, JSON or parquet table with a column caption or Prompt"


def read_prompts(path: str | Path, key: str) -> list[str]:
    """The captions of a file in the order in which they first come, in the normal form of `plain_text`, each once.

    Args:
        path: of the file; what it is, its name's end says.
        key: of the configuration that names it, for messages.

    Raises:
        UserError: the file is missing, damaged or of another kind, lacks its column, or rows have no caption.
    """
    with named_by(key, EXPECTED):
        file = location(path, key)
        kind = posixpath.splitext(file.path)[1].lower()
        if kind not in (".txt", *KINDS):
            raise UserError(f"{path} ends in none of .txt, {', '.join(KINDS)}")
        captions: dict[str, None] = {}
        faults: list[tuple[int, str]] = []
        for line, said, name in _lines(file, key) if kind == ".txt" else _cells(file, key, faults):
            try:
                caption = caption_of(said)
            except ValueError as error:
                faults.append((line, f"{name} {error}"))
                continue
            captions[caption] = None
            if not caption:
                faults.append((line, f"{name} is empty"))
        refuse(file, faults)
        if not captions:
            raise UserError(f"{path} holds no caption")
        return list(captions)


def _lines(file: Location, key: str) -> Iterator[tuple[int, Any, str]]:
    """The lines that are not blank, each with its number from 1, and what to call it."""
    with opened(file, key) as text:
        for line, said in enumerate(text_lines(text, file.url), 1):
            if plain_text(said):
                yield line, said, "the caption"


def _cells(file: Location, key: str, faults: list[tuple[int, str]]) -> Iterator[tuple[int, Any, str]]:
    """The column of every row, each with its line, and the column's name; what is no row is added to the faults."""
    columns: dict[str, str] = {}

    def choose(header: Sequence[str]) -> list[str]:
        columns.update(find_columns(file, header, NAMES))
        if not columns:
            raise UserError(f"{file.url} has no column caption; it has {in_words(header)}")
        return list(columns.values())

    for line, row in table_rows(file, key, choose):
        if isinstance(row, str):
            faults.append((line, row))
        else:
            yield line, row.get(columns["caption"]), columns["caption"]
