"""What a path to pairs stands for where it is no single table, and its rows.

| path | is read as |
|---|---|
| a folder that `datasets` saved (`state.json`; of several splits, one of them) | its Arrow files |
| a folder of `.tar` or `.arrow` files, or of `.parquet` files in it or below | these, by name |
| a file `.tar` (`.tar.gz`, `.tgz`, `.tar.bz2`, `.tar.xz`) or `.arrow` | that one |
| a path with `*`, `?`, `{a,b}` or `{000..010}` in it | what fits, as above; one kind of files |
"""

from __future__ import annotations

import itertools
import os
import posixpath
import re
from bisect import bisect_right
from collections.abc import Iterator
from dataclasses import dataclass, field, replace

from ppd_lightning.data.remote import Location, location, without_query
from ppd_lightning.data.saved_datasets import SPLITS, STATE, arrow_batches, in_pieces, saved_files, split_names
from ppd_lightning.data.table_parquet import batch_rows
from ppd_lightning.data.table_rows import Choose, Row, opened, table_rows
from ppd_lightning.data.webdataset import ENDS as SHARDS
from ppd_lightning.data.webdataset import samples
from ppd_lightning.errors import UserError

ARROW, PARQUET = (".arrow",), (".parquet",)

BRACES, NUMBERS = re.compile(r"\{([^{}]*)\}"), re.compile(r"(\d+)\.\.(\d+)")

HUB_FILE = re.compile(r"(.+)-\d{5}-of-\d{5}(-[0-9a-f]+)?\.parquet")
"""How the model hub calls the files of a split."""

MOST_FILES = 100_000

LISTED = 10
"""Names in a message."""

LOOKED_AT = 32
"""Samples of the first shard whose fields are the columns."""


@dataclass(frozen=True)
class Parts(Location):
    """Several files that are one table.

    path: in the folder that paths of images are relative to. files: as the file system names them. begins: while rows
    are read, the number of the first row of each file; keys: those of shards' samples.
    """

    files: tuple[str, ...] = ()
    begins: list[int] = field(default_factory=list, compare=False)
    keys: list[str] = field(default_factory=list, compare=False)

    def place(self, line: int) -> str:
        """The file, and in it the sample's key or the row."""
        part = bisect_right(self.begins, line) - 1
        name = posixpath.relpath(self.files[part], posixpath.dirname(self.path))
        return f"{name}: {f'sample {self.keys[line - 1]}' if self.keys else f'row {line - self.begins[part] + 1}'}"

    def split_of(self, line: int) -> str:
        """What the file of a row is called, without number and end; so the model hub's files name their split."""
        name = posixpath.basename(self.files[bisect_right(self.begins, line) - 1])
        found = HUB_FILE.fullmatch(name)
        return found[1] if found else name.partition(".")[0]


def open_table(table: str, key: str) -> Location:
    """The table that a setting names, a file or `Parts`.

    Args:
        key: of the configuration, for messages.

    Raises:
        UserError: nothing that is installed reads such a URL, the path leads to no table or to several, or it cannot be
            read.
    """
    names = [table] if os.path.lexists(table) else _without_braces(table, key)
    named = without_query(table) if table.startswith(("http://", "https://")) else table
    is_pattern = not os.path.lexists(table) and bool(set("*?") & set(named.partition("://")[2] or named))
    files: list[str] = []
    for name in names:
        where = location(name, key)
        for path in _fitting(where, key) if is_pattern else [where.path]:
            files += _files(replace(where, path=path, url=path if is_pattern else where.url), key)
    kinds = {_kind(file) for file in files}
    if len(kinds) > 1:
        raise UserError(f"{key}: {table} means files of several kinds ({', '.join(sorted(kinds))}); name those of one")
    if len(files) == 1 and kinds <= {*PARQUET, ""}:
        return where if files == [where.path] else replace(where, path=files[0], url=files[0])
    if kinds == {""}:
        raise UserError(f"{key}: {table} means {len(files)} files, and tables of this kind are read one at a time")
    base = where.path if files != [where.path] and len(names) == 1 and not is_pattern else _above(files)
    return Parts(
        table.rstrip("/"), posixpath.join(base, posixpath.basename(table.rstrip("/"))), where.system, tuple(files)
    )


def rows_of(table: Location, key: str, choose: Choose) -> Iterator[Row]:
    """Every row of a table that holds anything; see `table_rows.table_rows`. Those of parts are counted through."""
    if not isinstance(table, Parts):
        yield from table_rows(table, key, choose)
        return
    line = 0
    for number, path in enumerate(table.files):
        if number == len(table.begins):
            table.begins.append(line + 1)
        begin = line
        for row, cells in _part_rows(table, Location(path, path, table.system), key, choose, begin):
            line = begin + row
            yield line, cells


def _part_rows(table: Parts, part: Location, key: str, choose: Choose, before: int) -> Iterator[Row]:
    """The rows of one file, counted from 1, which come after `before` others."""
    if _kind(part.path) in PARQUET:
        yield from table_rows(part, key, choose)
        return
    with opened(part, key) as file:
        if _kind(part.path) in ARROW:
            schema, batches = arrow_batches(file)
            yield from batch_rows(schema, lambda names, rows: in_pieces(batches, names, rows), choose)
            return
        found = samples(file, part.url)
        if not before:
            looked_at = list(itertools.islice(found, LOOKED_AT))
            choose(
                list(dict.fromkeys(name for _, sample in looked_at if not isinstance(sample, str) for name in sample))
            )
            found = itertools.chain(looked_at, found)
        for number, (name, sample) in enumerate(found, 1):
            if before + number > len(table.keys):
                table.keys.append(name)
            yield number, sample


def _files(where: Location, key: str) -> list[str]:
    """The files that a path means, itself if it is no folder."""
    if not where.is_folder():
        return [where.path]
    try:
        names = sorted(
            posixpath.basename(info["name"].rstrip("/")) for info in where.system.ls(where.path, detail=True)
        )
    except Exception as error:  # each file system has its own
        raise where.unreachable(error) from error
    if SPLITS in names:
        splits = split_names(where)
        if len(splits) > 1:
            raise UserError(_several(where, key, splits, [f"{where.url}/{split}" for split in splits]))
        return _files(replace(where, path=f"{where.path}/{splits[0]}", url=f"{where.url}/{splits[0]}"), key)
    if STATE in names:
        return [f"{where.path}/{name}" for name in saved_files(where)]
    kinds = {kind: [name for name in names if name.endswith(kind) and name[0] != "."] for kind in (SHARDS, ARROW)}
    found = [own for own in (*kinds.values(), list(where.listed("**/*.parquet"))) if own]
    if len(found) > 1:
        patterns = [f"{where.url}/*{posixpath.splitext(own[0])[1]}" for own in found]
        raise UserError(f"{key}: {where.url} holds files of several kinds; name those of one: {' or '.join(patterns)}")
    if not found:
        holds = ", ".join(names[:LISTED]) or "nothing"
        raise UserError(
            f"{key}: {where.url} is a folder without {STATE} and without .tar, .arrow and .parquet files; name a table "
            f"in it (it holds {holds}{', ...' if len(names) > LISTED else ''})"
        )
    splits = list(dict.fromkeys(match[1] for name in found[0] if (match := HUB_FILE.fullmatch(name))))
    if len(splits) > 1:
        raise UserError(_several(where, key, splits, [f"{where.url}/{split}-*.parquet" for split in splits]))
    return [f"{where.path}/{name}" for name in found[0]]


def _several(where: Location, key: str, splits: list[str], ways: list[str]) -> str:
    named = ", ".join(splits[:LISTED]) + (", ..." if len(splits) > LISTED else "")
    return f"{key}: {where.url} holds the splits {named}; name one, such as {key}={ways[0]}"


def _fitting(where: Location, key: str) -> list[str]:
    """What fits a pattern, in alphabetical order."""
    try:
        found = sorted(where.system.glob(where.path.replace("[", "[[]")))
    except Exception as error:  # each file system has its own
        raise where.unreachable(error) from error
    if not found:
        raise UserError(f"{key}: no file fits {where.url}")
    return [str(path) for path in found]


def _without_braces(table: str, key: str) -> list[str]:
    """The names that a pattern with braces means, in its order.

    Raises:
        UserError: they are too many.
    """
    pieces = BRACES.split(table)
    choices: list[list[str]] = []
    for place, piece in enumerate(pieces):
        numbers = NUMBERS.fullmatch(piece) if place % 2 else None
        if numbers:
            begin, end = int(numbers[1]), int(numbers[2])
            if abs(end - begin) >= MOST_FILES:
                raise UserError(f"{key}: {table} means more than {MOST_FILES:,} files")
            width = len(numbers[1]) if numbers[1][0] == "0" or len(numbers[1]) == len(numbers[2]) else 0
            choices.append([f"{number:0{width}}" for number in range(begin, end + 1)])
        else:
            choices.append(piece.split(",") if place % 2 else [piece])
    count = 1
    for one in choices:
        count *= len(one)
    if not 0 < count <= MOST_FILES:
        raise UserError(f"{key}: {table} means {count:,} files; expected 1 to {MOST_FILES:,}, numbers going up")
    return ["".join(parts) for parts in itertools.product(*choices)]


def _above(files: list[str]) -> str:
    """The folder that all files lie in or below."""
    return posixpath.commonpath([posixpath.dirname(file) or "." for file in files])


def _kind(path: str) -> str:
    """The end of a name of which there may be several files, all shards' being one kind; "" of any other."""
    name = without_query(path).lower()
    return ".tar" if name.endswith(SHARDS) else posixpath.splitext(name)[1] if name.endswith((*ARROW, *PARQUET)) else ""
