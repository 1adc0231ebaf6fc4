"""Tables of rankings, ratings and votes, read as one's own choices are: a pair after the other, counted through.

Images are files below one folder, or bytes that a parquet table holds. The latter have a name of their content, since
a pair's two images may come from rows far apart; they are written to a folder for the time of the conversion.
"""

from __future__ import annotations

import logging
import posixpath
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from fsspec.implementations.local import LocalFileSystem

from ppd_lightning.data.folder_files import is_made, refuse_too_many, write_parquet
from ppd_lightning.data.image_files import ImageFiles
from ppd_lightning.data.own_table import Choice, OwnTable, held_image
from ppd_lightning.data.pair_ids import image_uid
from ppd_lightning.data.rankings import Ranking
from ppd_lightning.data.remote import Location, location, without_query
from ppd_lightning.data.table_cells import path_of
from ppd_lightning.data.table_parts import open_table, rows_of
from ppd_lightning.data.table_rows import find_columns, in_words, refuse
from ppd_lightning.errors import UserError

log = logging.getLogger(__name__)

Rows = Iterator[tuple[int, Mapping[str, Any]]]
"""Where a row is, and its cells by the usual names of columns; those that the table lacks are not there."""

Faults = list[tuple[int, str]]
"""What no ranking can be made of: the line, and a sentence."""

Rank = Callable[[Rows, Callable[[Any], str], Faults], Iterable[Ranking]]
"""Given the rows, what names the image of a cell, and where to note faults: the rankings."""


@dataclass(frozen=True)
class PairsOf(Location):
    """A table of which a line makes several pairs; these are what is counted.

    path: in the folder that paths of images are relative to. places: where each pair comes from.
    """

    places: list[str] = field(default_factory=list, compare=False)

    def place(self, line: int) -> str:
        """The line of the table, and which part of it."""
        return self.places[line - 1]


@dataclass(frozen=True)
class Form:
    """How a table of rankings is read.

    table: its path or URL. images: the folder that paths of images are relative to, None for the table's own. roots:
    further folders below which they may lie. names: those by which each column is found. needed: columns that must be
    there, one of each tuple. columns: the table's own names, where somebody says so. rank: makes rankings of rows.
    """

    table: str
    images: str | None
    roots: Sequence[str]
    names: Mapping[str, tuple[str, ...]]
    needed: tuple[tuple[str, ...], ...]
    columns: Mapping[str, str]
    rank: Rank


class HeldImages:
    """The images that a table holds, by names of their content.

    Args:
        base: what all names begin with.
        keep: the folder to write them to, one file each; None keeps their sizes alone.
    """

    def __init__(self, base: str, keep: Path | None) -> None:
        self.base, self.keep = base, keep
        self.found: dict[str, dict[str, Any]] = {}

    def named(self, cell: Any) -> str:
        """The name of a cell's image; the path that it says, where it holds none.

        Raises:
            ValueError: it is neither.
        """
        data = held_image(cell)
        if data is None:
            return path_of(cell)
        uid = image_uid(data)
        name = f"{self.base}#{uid}"
        if name not in self.found:
            self.found[name] = {"size": len(data)}
            if self.keep is not None:
                (self.keep / uid).write_bytes(data)
                self.found[name]["name"] = str(self.keep / uid)
        return name


def read_pairs(form: Form, keep: Path | None = None) -> tuple[PairsOf, OwnTable]:
    """Every pair of a table's rankings, and what is wrong with them.

    Args:
        keep: a folder to write the images to that the table holds.

    Raises:
        UserError: the table cannot be read, lacks columns, has rows that are no rankings, or makes no pair.
    """
    table = open_table(form.table, "data.table")
    held = HeldImages(table.path, keep)
    no_rows: Faults = []
    rankings = list(form.rank(_rows(table, form, no_rows), held.named, no_rows))
    refuse(table, no_rows)
    where = _with_images(table, form.images, bool(held.found))
    files = ImageFiles(where, form.roots)
    names: dict[str, str] = {}
    choices: list[Choice] = []
    faults: Faults = []
    for ranking in rankings:
        for name in ranking.images:
            names[name] = name if not name or name in held.found else files.named(name)
        place = table.place(ranking.line) + (f", {ranking.part}" if ranking.part else "")
        lacking = [what for what in ("caption", "user") if not getattr(ranking, what)]
        for first, second, label in ranking.pairs():
            choices.append(_choice(len(choices) + 1, ranking, names, first, second, label))
            where.places.append(place)
            faults += [(len(choices), f"{what} is empty") for what in lacking]
    if not choices:
        raise UserError(f"{table.url}: makes no pair: nobody says of two images of one caption which is better")
    alone = sum(len(ranking.images) == 1 for ranking in rankings)
    if alone and keep is None:  # of a table that is read twice, once
        log.warning("%s: %d times a person judged one image alone of a caption, which makes no pair", table.url, alone)
    found, missing = files.find(name for name in names.values() if name and name not in held.found)
    for choice in choices:
        faults += [(choice.line, missing[name]) for name in dict.fromkeys(choice.images) if name in missing]
        faults += [(choice.line, "an image is empty")] * ("" in choice.images)
    return where, OwnTable(choices, held.found | found, faults)


def make_parquet(form: Form, folder: Path, max_unusable: float) -> None:
    """Write `folder`/source; nothing is done where it was made from the same pairs and images.

    Args:
        folder: the data folder.
        max_unusable: share of the pairs that may have faults.

    Raises:
        UserError: as `read_pairs`, too many pairs have faults, or an image cannot be read.
    """
    where, read = read_pairs(form)
    refuse_too_many(where, read, max_unusable)
    if is_made(read, folder):
        return
    folder.mkdir(parents=True, exist_ok=True)
    with TemporaryDirectory(prefix="images-", dir=folder) as keep:
        if any("name" not in image for image in read.images.values()):  # the table holds it
            where, read = read_pairs(form, Path(keep))
        write_parquet(where, read, folder, max_unusable)


def _rows(table: Location, form: Form, faults: Faults) -> Rows:
    called: dict[str, str] = {}

    def choose(header: Sequence[str]) -> list[str]:
        called.update(_called(table, header, form))
        return list(called.values())

    for line, row in rows_of(table, "data.table", choose):
        if isinstance(row, str):
            faults.append((line, row))
        else:
            yield line, {name: row.get(own) for name, own in called.items()}


def _called(table: Location, header: Sequence[str], form: Form) -> dict[str, str]:
    """The table's name of each usual column that it has.

    Raises:
        UserError: `columns` names none of the usual columns or none of the table's, or columns are lacking.
    """
    found = find_columns(table, header, form.names, form.columns)
    faults = [
        f"data.columns: there is no column {name} to name; the columns are {', '.join(form.names)}"
        for name in form.columns
        if name not in form.names
    ]
    faults += [
        f"data.columns: {table.url} has no column {own}; it has {in_words(header)}"
        for name, own in form.columns.items()
        if name in form.names and name not in found
    ]
    lacking = [" or ".join(ways) for ways in form.needed if not found.keys() & set(ways)]
    if lacking and not faults:
        called = "; columns of other names are named by data.columns, such as " + (
            f"'data.columns={{{lacking[0].split()[0]}: {header[0] if header else 'NAME'}}}'"
        )
        faults = [f"{table.url}: lacks the columns {', '.join(lacking)}; it has {in_words(header)}{called}"]
    if faults:
        raise UserError(faults)
    return found


def _with_images(table: Location, images: str | None, holds: bool) -> PairsOf:
    """The table, as if it lay in the folder of its images; one that holds them is on this machine from then on."""
    name = posixpath.basename(without_query(table.path))
    if images is not None:
        folder = location(images, "data.images")
        if not folder.is_folder():
            raise UserError(f"data.images: {images} is no folder; name one that is there")
        return PairsOf(table.url, posixpath.join(folder.path, name), folder.system)
    return PairsOf(table.url, table.path, LocalFileSystem() if holds else table.system)


def _choice(number: int, ranking: Ranking, names: Mapping[str, str], first: int, second: int, label: float) -> Choice:
    models = ranking.models or ("",) * len(ranking.images)
    return Choice(
        number,
        ranking.caption,
        (names[ranking.images[first]], names[ranking.images[second]]),
        label,
        ranking.user,
        ranking.name,
        (models[first], models[second]),
    )
