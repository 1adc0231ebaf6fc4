"""The rows of a table that is converted: cells by the usual names of columns, and who its splits call unseen."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

from ppd_lightning.data.remote import Location
from ppd_lightning.data.table_cells import label_of, read_as, user_of
from ppd_lightning.data.table_parts import Parts, open_table, rows_of
from ppd_lightning.data.table_rows import find_columns, in_words, refuse_places
from ppd_lightning.errors import UserError

T = TypeVar("T")

SPLIT, UNSEEN = "split", "unseen"
"""The usual name of the column of splits, and how the names of those end whose people are never trained on."""

Faults = list[tuple[str, str]]
"""What no ranking can be made of: the place in the table, and a sentence."""


@dataclass(frozen=True)
class Row:
    """A row.

    place: in the table, for messages. cells: by the usual names of columns; those that the table lacks are not there.
    called: the table's own names.
    """

    place: str
    cells: Mapping[str, Any]
    called: Mapping[str, str]

    def read(self, name: str, meaning: Callable[[Any], T]) -> T:
        """What a cell means; one that the table lacks is empty.

        Raises:
            ValueError: it means nothing, with a sentence that begins with the table's name of the column.
        """
        return read_as(self.called.get(name, name), meaning, self.cells.get(name))

    def read_all(self, meanings: Mapping[str, Callable[[Any], Any]], faults: Faults) -> dict[str, Any] | None:
        """What cells mean, by the usual names; None where some mean nothing, each of which is noted."""
        said, wrong = {}, []
        for name, meaning in meanings.items():
            try:
                said[name] = self.read(name, meaning)
            except ValueError as error:
                wrong.append((self.place, str(error)))
        faults += wrong
        return None if wrong else said


Rows = Iterator[Row]


def converted_rows(
    table: Location,
    names: Mapping[str, tuple[str, ...]],
    forms: Sequence[tuple[str, ...]],
    columns: Mapping[str, str],
    no_rows: list[tuple[int, str]],
) -> Rows:
    """The rows of a table.

    Args:
        table: the file, or files.
        names: those by which each column is found.
        forms: columns that must be there together; those of one form suffice.
        columns: the table's own names, where somebody says so.
        no_rows: where to note what is no row: the line, and a sentence.

    Raises:
        UserError: the table cannot be read, or lacks columns.
    """
    called: dict[str, str] = {}

    def choose(header: Sequence[str]) -> list[str]:
        called.update(_called(table, header, names, forms, columns))
        return list(called.values())

    before, number = 0, 0
    for line, row in rows_of(table, "data.table", choose):
        number += 1
        if isinstance(row, str):
            no_rows.append((line, row))
            continue
        cells = {name: row.get(own) for name, own in called.items()}
        if isinstance(table, Parts) and SPLIT in names and SPLIT not in called:
            cells[SPLIT] = table.split_of(line)
        yield Row(table.place(line) + (f", row {number}" if line == before else ""), cells, called)
        before = line


def unseen_people(table: str, names: Mapping[str, tuple[str, ...]], columns: Mapping[str, str]) -> frozenset[str]:
    """Who is never trained on by the table's own splits: the column of splits, or else the names of its files.

    Args:
        table: its path or URL.
        names, columns: as for `converted_rows`; splits are those of the column `split`.

    Raises:
        UserError: somebody is in splits of both kinds, or the table cannot be read.
    """
    where = open_table(table, "data.table")
    both = {name: names[name] for name in ("user", SPLIT)}
    known = {name: own for name, own in columns.items() if name in both}
    found: dict[bool, dict[str, str]] = {True: {}, False: {}}
    for row in converted_rows(where, both, [()], known, []):
        if SPLIT not in row.cells:
            return frozenset()
        try:
            user, split = row.read("user", user_of), row.read(SPLIT, label_of)
        except ValueError:  # whoever makes pairs of the rows says so
            continue
        if user and split:
            place = f"split {split} ({row.place})"
            found[split.casefold().endswith(UNSEEN)].setdefault(user, place)
    refuse_places(
        where,
        [
            (place, f"user {user} is in {place} and in {found[False][user]}; a person is seen or unseen, so rename one")
            for user, place in found[True].items()
            if user in found[False]
        ],
    )
    return frozenset(found[True])


def _called(
    table: Location,
    header: Sequence[str],
    names: Mapping[str, tuple[str, ...]],
    forms: Iterable[tuple[str, ...]],
    columns: Mapping[str, str],
) -> dict[str, str]:
    """The table's name of each usual column that it has.

    Raises:
        UserError: `columns` names none of the usual columns or none of the table's, or columns are lacking.
    """
    found = find_columns(table, header, names, columns)
    faults = [
        f"data.columns: there is no column {name} to name; the columns are {', '.join(names)}"
        for name in columns
        if name not in names
    ]
    faults += [
        f"data.columns: {table.url} has no column {own}; it has {in_words(header)}"
        for name, own in columns.items()
        if name in names and name not in found
    ]
    lacking, *others = sorted(([name for name in form if name not in found] for form in forms), key=len)
    if lacking and not faults:
        also = "".join(f", or {' and '.join(other)}" for other in others)
        called = "; columns of other names are named by data.columns, such as " + (
            f"'data.columns={{{lacking[0]}: {header[0] if header else 'NAME'}}}'"
        )
        faults = [f"{table.url}: lacks the columns {', '.join(lacking)}{also}; it has {in_words(header)}{called}"]
    if faults:
        raise UserError(faults)
    return found
