"""A table of one's own choices between images: reading it, with every fault of it named at once.

The table is CSV, JSON or parquet (`table_rows`), a row a choice, beside its images. Its columns: caption; image_0 and
image_1, paths relative to the table; choice, 0 or 1 for the image that was preferred, or tie; user, a name or a
number. Instead of image_0, image_1 and choice it may have chosen and rejected. And if they are there: ranking,
what was asked at once; model_0 and model_1, what drew the images. Columns may have other names (`columns`).

A parquet table may hold the images themselves, as bytes or as structs of bytes and path, which is how Hugging Face
`datasets` writes them. Then it is read a second time for them, in the order of its rows (`TableImages`).
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ppd_lightning.data.image_files import ImageFiles, quoted
from ppd_lightning.data.pair_ids import image_uid
from ppd_lightning.data.remote import Location
from ppd_lightning.data.table_cells import caption_of, choice_of, label_of, path_of, user_of
from ppd_lightning.data.table_parts import rows_of
from ppd_lightning.data.table_rows import find_columns, in_words, refuse
from ppd_lightning.errors import UserError

log = logging.getLogger(__name__)

COLUMNS = ("caption", "image_0", "image_1", "choice", "user")
"""The columns that a table must have."""

ORDERED = ("caption", "chosen", "rejected", "user")
"""Those of a table that says by its columns which image was preferred."""

OTHER_NAMES = {"caption": ("prompt",), "user": ("user_id",)}
"""Names by which columns are found too, where the table has none of the usual name."""

FURTHER = ("ranking", "model_0", "model_1")
"""Columns that are read if they are there."""

LABELS = {"0": 1.0, "1": 0.0, "tie": 0.5}
"""What a choice makes of label_0."""

READ: dict[str, Callable[[Any], str]] = {
    "caption": caption_of,
    "image_0": path_of,
    "image_1": path_of,
    "choice": choice_of,
    "user": user_of,
    "ranking": label_of,
    "model_0": label_of,
    "model_1": label_of,
}
"""What cells mean, by column."""


@dataclass(frozen=True)
class Choice:
    """A row.

    line: where it is: the line of a CSV or JSONL file, the row of a parquet file, counted from 1.
    images: as the table's file system names them; one that the table holds has a name of its content. label: 1 the
    first was preferred, 0 the second, 0.5 a tie; None where the table says something else. Text is empty where the
    table does not tell it.
    """

    line: int
    caption: str
    images: tuple[str, str]
    label: float | None
    user: str
    ranking: str
    models: tuple[str, str]


@dataclass(frozen=True)
class OwnTable:
    """What was read of a table.

    choices: every row, those with faults too. images: what the file system tells of each image that is there, by path;
    of one that the table holds, its size. faults: what is wrong with rows, as (line, sentence). holding: the table's
    names of the columns image_0 and image_1, where it holds images. unseen: who is never trained on, by its own splits.
    """

    choices: list[Choice]
    images: dict[str, dict[str, Any]]
    faults: list[tuple[int, str]]
    holding: tuple[str, str] | None = None
    unseen: frozenset[str] = frozenset()


def read_choices(
    table: Location,
    columns: Mapping[str, str] | None = None,
    *,
    roots: Sequence[str] = (),
    key: str = "data.table",
) -> OwnTable:
    """The choices of a table, and which of them cannot be used.

    Args:
        table: the file.
        columns: the table's names of columns, by the usual name.
        roots: folders below which its images may lie, beside its own.
        key: of the configuration that names it, for messages.

    Raises:
        UserError: the table is missing, cannot be read, lacks columns, or has lines that are no rows.
    """
    files = ImageFiles(table, roots, key)
    choices: list[Choice] = []
    faults: list[tuple[int, str]] = []
    no_rows: list[tuple[int, str]] = []
    called: dict[str, str] = {}
    held: dict[str, dict[str, Any]] = {}

    def choose(header: Sequence[str]) -> list[str]:
        called.update(_called(table, header, columns or {}, key))
        return list(called.values())

    for line, row in rows_of(table, key, choose):
        if isinstance(row, str):
            no_rows.append((line, row))
            continue
        values, wrong = _values(row, called)
        for name in ("image_0", "image_1"):
            value = row.get(called[name])
            data = held_image(value)
            if data is not None:
                values[name] = f"{table.path}#{'-'.join(filter(None, [values[name], image_uid(data)]))}"
                held[values[name]] = {"size": len(data)}
            elif isinstance(value, Mapping) and value.get("bytes"):
                no_rows.append((line, f"{called[name]} holds an image as text; a parquet table can hold images"))
        faults += [(line, fault) for fault in [*wrong.values(), *_faults(values, called, wrong)]]
        choices.append(_choice(files, line, values, held))
    refuse(table, no_rows)
    if not choices:
        raise UserError(f"{table.url}: holds no rows")
    found, missing = files.find(name for choice in choices for name in choice.images if name and name not in held)
    for choice in choices:
        faults += [(choice.line, missing[name]) for name in dict.fromkeys(choice.images) if name in missing]
    return OwnTable(choices, held | found, faults, (called["image_0"], called["image_1"]) if held else None)


def held_image(value: Any) -> bytes | None:
    """The image that a cell of a parquet table holds, as bytes or as a struct of bytes and path; None if none."""
    data = value.get("bytes") if isinstance(value, Mapping) else value
    return data if isinstance(data, bytes) and data else None


def _called(table: Location, header: Sequence[str], columns: Mapping[str, str], key: str) -> dict[str, str]:
    """The table's name of each usual column that it has; chosen and rejected stand for image_0 and image_1.

    Raises:
        UserError: `columns` names none of the usual columns or none of the table's, or columns are lacking.
    """
    known = dict.fromkeys((*COLUMNS, *ORDERED, *FURTHER))
    unknown = [name for name in columns if name not in known]
    found = find_columns(table, header, {name: (name, *OTHER_NAMES.get(name, ())) for name in known}, columns)
    absent = [own for name, own in columns.items() if name in known and name not in found]
    if unknown or absent:
        raise UserError(
            [f"data.columns: there is no column {name} to name; the columns are {', '.join(known)}" for name in unknown]
            + [f"data.columns: {table.url} has no column {own}; it has {in_words(header)}" for own in absent]
        )
    ordered = {"chosen", "rejected"} <= found.keys() and not {"image_0", "image_1", "choice"} <= found.keys()
    lacking = [name for name in (ORDERED if ordered else COLUMNS) if name not in found]
    if lacking:
        hint = "" if ordered else "; chosen and rejected may stand for image_0, image_1 and choice"
        if key == "data.table" and header:
            example = f"'data.columns={{{lacking[0]}: {header[0]}}}'"
            hint += f"; columns of other names are named by data.columns, such as {example}"
        raise UserError(f"{table.url}: lacks the columns {', '.join(lacking)}; it has {in_words(header)}{hint}")
    if ordered:
        found |= {"image_0": found["chosen"], "image_1": found["rejected"]}
        if "choice" in found:
            log.warning(
                "%s: the column %s is not read, for chosen and rejected say what was preferred",
                table.url,
                found["choice"],
            )
            del found["choice"]
    return {name: own for name, own in found.items() if name not in ("chosen", "rejected")}


def _values(row: Mapping[str, Any], called: Mapping[str, str]) -> tuple[dict[str, str], dict[str, str]]:
    """What a row says, by usual name, "" where it says nothing; and what is wrong with cells, by usual name."""
    values: dict[str, str] = {}
    wrong: dict[str, str] = {}
    for name, own in called.items():
        try:
            values[name] = READ[name](row.get(own))
        except ValueError as error:
            values[name], wrong[name] = "", f"{own} {error}"
    return values, wrong


def _faults(values: Mapping[str, str], called: Mapping[str, str], wrong: Collection[str]) -> list[str]:
    """What is wrong with a row for itself.

    Args:
        called: the table's names of its columns.
        wrong: columns whose cells are refused already.
    """
    needed = [name for name in ("caption", "image_0", "image_1", "user") if name not in wrong]
    faults = [f"{called[name]} is empty" for name in needed if not values[name]]
    if values["image_0"] and values["image_0"] == values["image_1"]:
        faults.append(f"{called['image_0']} and {called['image_1']} are both {quoted(values['image_0'])}")
    if values.get("choice", "0") not in LABELS:
        faults.append(f"{called['choice']} must be 0, 1 or tie, not {values['choice'][:80]!r}")
    return faults


def _choice(files: ImageFiles, line: int, values: Mapping[str, str], held: Collection[str]) -> Choice:
    first, second = (
        name if not name or name in held else files.named(name)
        for name in (values.get("image_0", ""), values.get("image_1", ""))
    )
    return Choice(
        line,
        values.get("caption", ""),
        (first, second),
        LABELS.get(values.get("choice", "0")),  # 0, the first, where the columns say which was chosen
        values.get("user", ""),
        values.get("ranking", ""),
        (values.get("model_0", ""), values.get("model_1", "")),
    )
