"""One's own pairs as parquet files in Pick-a-Pic v2's schema, so that there is one way on."""

from __future__ import annotations

import datetime
import json
import logging
import posixpath
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from ppd_lightning.data.image_files import quoted
from ppd_lightning.data.own_table import Choice, OwnTable, read_choices
from ppd_lightning.data.pair_ids import image_uid, ranking_id
from ppd_lightning.data.pickapic import SCHEMA
from ppd_lightning.data.pictures import NoPictureError, check_header
from ppd_lightning.data.remote import Location
from ppd_lightning.data.table_images import TableImages
from ppd_lightning.data.table_parts import open_table
from ppd_lightning.data.table_rows import refuse
from ppd_lightning.storage.atomic import atomic_path, write_json_atomic, write_text_atomic
from ppd_lightning.storage.fingerprints import fingerprint

log = logging.getLogger(__name__)

VERSION = 2
"""Raised when the same table would give other files."""

GROUP_ROWS, GROUP_BYTES = 1024, 64 << 20
"""A row group ends at so many rows, or bytes of distinct images; within it, an image is stored once."""

CHANGES = ("size", "mtime", "LastModified", "updated", "ETag", "created")
"""What file systems tell of an image that changes with it; each tells some of this."""

WRITTEN = datetime.datetime(1970, 1, 1)
"""Stands where Pick-a-Pic has the time of a choice, which the table does not tell."""

STORED = pa.schema(
    [field.with_type(pa.dictionary(pa.int32(), pa.binary())) if "jpg" in field.name else field for field in SCHEMA]
).set(SCHEMA.get_field_index("user_id"), pa.field("user_id", pa.string()))
"""Pick-a-Pic's schema, where a user is called by name and an image can be in many rows."""


PICTURES = {"pictures": "2"}
"""Stands in a file that holds pictures which earlier versions read otherwise: what was made of them is made anew."""

MADE, STAMP = "source/choices.parquet", "source.key"
"""The parquet file, and what it was made from: in the data folder."""

FAULTS = "faults.json"
"""What is wrong with rows, by the line: beside the folder of the parquet file."""


def read_own(
    table: str, max_unusable: float, columns: Mapping[str, str] | None = None, roots: Sequence[str] = ()
) -> OwnTable:
    """One's own table.

    Args:
        table: the file's path or fsspec URL.
        max_unusable: share of its rows that may have faults.
        columns: its names of columns, by the usual name.
        roots: folders below which its images may lie, beside its own.

    Raises:
        UserError: it cannot be read, or more of its rows have faults; all of these are named, or the first.
    """
    file = open_table(table, "data.table")
    read = read_choices(file, columns, roots=roots)
    refuse_too_many(file, read, max_unusable)
    return read


def make_parquet(
    table: str,
    folder: Path,
    max_unusable: float,
    columns: Mapping[str, str] | None = None,
    roots: Sequence[str] = (),
) -> None:
    """Write `folder`/source; nothing is done where it was made from the same table and images.

    An image is known by its content, whatever its names; __index_level_0__ is the line of the table. Rows with faults
    are written as they are, for `pickapic_rows.read_rows` to leave out, unless they are too many; but for what is no
    picture, of which nothing is stored. What is wrong with them is in `folder`/faults.json.

    Args:
        table, max_unusable, columns, roots: as for `read_own`.
        folder: the data folder.

    Raises:
        UserError: as `read_own`, or an image cannot be read.
    """
    read = read_own(table, max_unusable, columns, roots)
    if not is_made(read, folder):
        write_parquet(open_table(table, "data.table"), read, folder, max_unusable)


def is_made(read: OwnTable, folder: Path) -> bool:
    """Whether `folder`/source was made from the same choices and images."""
    stamp = folder / STAMP
    return stamp.is_file() and (folder / MADE).is_file() and stamp.read_bytes() == _made_from(read).encode()


def write_parquet(file: Location, read: OwnTable, folder: Path, max_unusable: float) -> None:
    """Write `folder`/source, faults.json, and last what it was made from; see `make_parquet`.

    Args:
        file: the table.
        read: what was read of it.

    Raises:
        UserError: an image cannot be read, or more rows than allowed have faults.
    """
    choices, images, faults = read.choices, read.images, read.faults
    key, stamp = _made_from(read), folder / STAMP
    if stamp.is_file() and stamp.read_bytes() != key.encode():
        stamp.unlink()  # from here on it would be of other pairs
    stored, prompts = TableImages(file, read), Counter(choice.caption for choice in choices)
    all_plain = True
    with atomic_path(folder / MADE) as temporary:
        with pq.ParquetWriter(
            temporary,
            STORED,
            dictionary_pagesize_limit=2 * GROUP_BYTES,  # larger than any group's images: never spelt out
            write_page_checksum=True,
            store_schema=False,  # read back as plain bytes, as Pick-a-Pic's own files are
        ) as writer:
            for group in _groups(choices, images):
                content, broken = stored.of(group)
                for name, data in list(content.items()):
                    try:
                        all_plain &= check_header(data)
                    except NoPictureError as error:
                        broken[name] = f"{quoted(name)} {error}"
                        del content[name]
                faults += [(choice.line, broken[name]) for choice in group for name in choice.images if name in broken]
                writer.write_table(_as_pickapic(group, content, prompts))
            if not all_plain:
                writer.add_key_value_metadata(PICTURES)
            if read.unseen:
                writer.add_key_value_metadata({"unseen": fingerprint(sorted(read.unseen))})
        refuse_too_many(file, read, max_unusable)
    by_line = type(file) is Location
    named = faults if by_line else [(line, f"{file.place(line)}: {fault}") for line, fault in faults]
    write_json_atomic(folder / FAULTS, sorted(set(named)))
    write_text_atomic(stamp, key)
    log.info("took over %d choices between %d images from %s", len(choices), len(images), file.url)


def faults_of_lines(folder: Path) -> dict[int, str]:
    """What was wrong with the lines of the table that `folder`/source was made from."""
    try:
        noted = json.loads((folder / FAULTS).read_text(encoding="utf-8"))
        found: dict[int, list[str]] = {}
        for line, fault in noted:
            found.setdefault(int(line), []).append(str(fault))
    except (OSError, ValueError, TypeError):
        return {}  # the reasons that the rows themselves show remain
    return {line: "; ".join(own) for line, own in found.items()}


def refuse_too_many(table: Location, read: OwnTable, max_unusable: float) -> None:
    """Raise a `UserError` that names the faults of a table, where a larger share of its rows than allowed has some."""
    if len({line for line, _ in read.faults}) > max_unusable * len(read.choices):
        refuse(table, read.faults)


def _made_from(read: OwnTable) -> str:
    states = [[name, *(str(read.images[name].get(what)) for what in CHANGES)] for name in sorted(read.images)]
    return fingerprint([VERSION, read.choices, states, *([sorted(read.unseen)] if read.unseen else [])])


def _groups(choices: Sequence[Choice], images: Mapping[str, Mapping[str, Any]]) -> Iterator[list[Choice]]:
    """The choices in their order, in groups that fit the memory."""
    group: list[Choice] = []
    sizes: dict[str, int] = {}
    total = 0
    for choice in choices:
        group.append(choice)
        for name in choice.images:
            if name in images and name not in sizes:
                sizes[name] = int(images[name]["size"])
                total += sizes[name]
        if len(group) == GROUP_ROWS or total >= GROUP_BYTES:
            yield group
            group, sizes, total = [], {}, 0
    if group:
        yield group


def _base(name: str) -> str:
    """A file's name as UTF-8 can hold it."""
    return posixpath.basename(name).encode("utf-8", "replace").decode("utf-8")


def _as_pickapic(group: Sequence[Choice], content: Mapping[str, bytes], prompts: Mapping[str, int]) -> pa.Table:
    uids = {name: image_uid(data) for name, data in content.items()}
    stored = {uids[name]: data for name, data in content.items()}
    number = {uid: row for row, uid in enumerate(stored)}
    labels = [choice.label for choice in group]
    sides = [[uids.get(choice.images[side]) for choice in group] for side in (0, 1)]
    choices = zip(labels, *sides, strict=True)
    columns: dict[str, Any] = {
        "are_different": [label != 0.5 for label in labels],
        "best_image_uid": [one if label == 1 else two if label == 0 else None for label, one, two in choices],
        "caption": [choice.caption for choice in group],
        "created_at": [WRITTEN] * len(group),
        "has_label": [True] * len(group),
        "label_0": labels,
        "label_1": [None if label is None else 1 - label for label in labels],
        "ranking_id": [ranking_id(choice.ranking, choice.user, choice.caption) for choice in group],
        "user_id": [choice.user for choice in group],
        "num_example_per_prompt": [prompts[choice.caption] for choice in group],
        "__index_level_0__": [choice.line for choice in group],
    }
    for side in (0, 1):
        columns[f"image_{side}_uid"] = sides[side]
        columns[f"image_{side}_url"] = [_base(choice.images[side]) for choice in group]
        columns[f"model_{side}"] = [choice.models[side] or None for choice in group]
        columns[f"jpg_{side}"] = pa.DictionaryArray.from_arrays(
            pa.array([None if uid is None else number[uid] for uid in sides[side]], pa.int32()),
            pa.array(list(stored.values()), pa.binary()),
        )
    return pa.table([columns[name] for name in STORED.names], schema=STORED)
