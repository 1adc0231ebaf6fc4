"""Tables of rankings, ratings and votes, read as one's own choices are: a pair after the other, counted through.

Images are files below one folder, or bytes that a parquet table holds. The latter have a name of their content, since
a pair's two images may come from rows far apart; they are written to a folder for the time of the conversion.
"""

from __future__ import annotations

import logging
import posixpath
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from fsspec.implementations.local import LocalFileSystem

from ppd_lightning.data.converted_rows import SPLIT, Faults, Rows, converted_rows, unseen_people
from ppd_lightning.data.folder_files import is_made, refuse_too_many, write_parquet
from ppd_lightning.data.image_files import ImageFiles, quoted
from ppd_lightning.data.own_table import Choice, OwnTable, held_image
from ppd_lightning.data.pair_ids import image_uid
from ppd_lightning.data.rankings import Ranking
from ppd_lightning.data.remote import Location, location, without_query
from ppd_lightning.data.table_cells import path_of
from ppd_lightning.data.table_parts import open_table
from ppd_lightning.data.table_rows import refuse, refuse_places
from ppd_lightning.errors import UserError
from ppd_lightning.storage.writers import temporary_folder

log = logging.getLogger(__name__)

Rank = Callable[[Rows, Callable[[Any], str], Faults], Iterable[Ranking]]
"""Given the rows, what names the image of a cell, and where to note faults: the rankings."""

MOST_IMAGES = 1_000
"""Images of a ranking at most, half a million pairs: more are of one caption by mistake."""


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
    further folders below which they may lie. names: those by which each column is found. forms: columns that must be
    there together; those of one form suffice. columns: the table's own names, where somebody says so. rank: makes
    rankings of rows. max_unusable: share of the rows, or of the rankings, that may have faults.
    """

    table: str
    images: str | None
    roots: Sequence[str]
    names: Mapping[str, tuple[str, ...]]
    forms: tuple[tuple[str, ...], ...]
    columns: Mapping[str, str]
    rank: Rank
    max_unusable: float


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
    rankings = _rankings(table, form, held, first_time=keep is None)
    where = _with_images(table, form.images, bool(held.found))
    files = ImageFiles(where, form.roots)
    names: dict[str, str] = {}
    choices: list[Choice] = []
    faults: list[tuple[int, str]] = []
    for ranking in rankings:
        for name in ranking.images:
            names[name] = name if name in held.found else files.named(name)
        for first, second, label in ranking.pairs():
            choices.append(_choice(len(choices) + 1, ranking, names, first, second, label))
            where.places.append(ranking.place)
            if len(set(choices[-1].images)) == 1:
                faults.append((len(choices), f"both images are {quoted(choices[-1].images[0])}"))
    if not choices:
        raise UserError(f"{table.url}: makes no pair: nobody says of two images of one caption which is better")
    found, missing = files.find(name for name in names.values() if name not in held.found)
    for choice in choices:
        faults += [(choice.line, missing[name]) for name in dict.fromkeys(choice.images) if name in missing]
    return where, OwnTable(choices, held.found | found, faults, unseen=read_unseen(form))


def read_unseen(form: Form) -> frozenset[str]:
    """Who is never trained on by a table's own splits; nobody where it has none.

    Raises:
        UserError: as `unseen_people`.
    """
    return unseen_people(form.table, form.names, form.columns) if SPLIT in form.names else frozenset()


def make_parquet(form: Form, folder: Path) -> None:
    """Write `folder`/source; nothing is done where it was made from the same pairs and images.

    Args:
        folder: the data folder.

    Raises:
        UserError: as `read_pairs`, too many pairs have faults, or an image cannot be read.
    """
    where, read = read_pairs(form)
    refuse_too_many(where, read, form.max_unusable)
    if is_made(read, folder):
        return
    with temporary_folder(folder / "images") as keep:
        if any("name" not in image for image in read.images.values()):  # the table holds it
            where, read = read_pairs(form, keep)
        write_parquet(where, read, folder, form.max_unusable)


def _rankings(table: Location, form: Form, held: HeldImages, *, first_time: bool) -> list[Ranking]:
    """What a table says, without what cannot be used.

    Raises:
        UserError: as `read_pairs`.
    """
    no_rows: list[tuple[int, str]] = []
    faults: Faults = []
    rows = 0

    def counted() -> Rows:
        nonlocal rows
        for row in converted_rows(table, form.names, form.forms, form.columns, no_rows):
            rows += 1
            yield row

    rankings = list(form.rank(counted(), held.named, faults))
    refuse(table, no_rows)
    if not rows:
        raise UserError(f"{table.url}: holds no rows")
    refuse_places(
        table, [(ranking.place, _too_many(ranking)) for ranking in rankings if len(ranking.images) > MOST_IMAGES]
    )
    unusable = len({place for place, _ in faults})
    if unusable > form.max_unusable * max(rows, len(rankings)):
        refuse_places(table, faults)
    if first_time:
        _warn(table, rankings, faults, unusable)
    return rankings


def _warn(table: Location, rankings: Sequence[Ranking], faults: Faults, unusable: int) -> None:
    """Say what makes no pair."""
    if faults:
        words = "%s: %d rows or rankings say nothing that can be used and are left out; the first is %s: %s"
        log.warning(words, table.url, unusable, *faults[0])
    unasked, alone = (sum(len(ranking.images) == count for ranking in rankings) for count in (0, 1))
    if unasked:
        log.warning("%s: %d rows have no votes and make no pair", table.url, unasked)
    if alone:
        log.warning("%s: %d times a person judged one image alone of a caption, which makes no pair", table.url, alone)


def _too_many(ranking: Ranking) -> str:
    return (
        f"ranks {len(ranking.images):,} images of the caption {ranking.caption[:40]!r}; at most {MOST_IMAGES:,} are "
        "read: see whether the column of captions is the right one"
    )


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
