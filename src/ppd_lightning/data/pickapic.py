"""Pick-a-Pic v2's parquet schema: reading it defensively, row group by row group.

Source of the schema: the data set card of `yuvalkirstain/pickapic_v2`.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from ppd_lightning.run.errors import UserError
from ppd_lightning.run.fingerprints import fingerprint

SCHEMA = pa.schema(
    {
        "are_different": pa.bool_(),
        "best_image_uid": pa.string(),
        "caption": pa.string(),
        "created_at": pa.timestamp("ns"),
        "has_label": pa.bool_(),
        "image_0_uid": pa.string(),
        "image_0_url": pa.string(),
        "image_1_uid": pa.string(),
        "image_1_url": pa.string(),
        "jpg_0": pa.binary(),
        "jpg_1": pa.binary(),
        "label_0": pa.float64(),
        "label_1": pa.float64(),
        "model_0": pa.string(),
        "model_1": pa.string(),
        "ranking_id": pa.int64(),
        "user_id": pa.int64(),
        "num_example_per_prompt": pa.int64(),
        "__index_level_0__": pa.int64(),
    }
)

READ = (
    "caption",
    "has_label",
    "image_0_uid",
    "image_1_uid",
    "label_0",
    "label_1",
    "model_0",
    "model_1",
    "ranking_id",
    "user_id",
)
"""The columns that `read_rows` reads; the images (jpg_0, jpg_1) are read by `images.read_images`."""

DAMAGE = (pa.ArrowException, OSError)
"""What pyarrow raises at a damaged file."""


@dataclass(frozen=True)
class Rows:
    """The usable rows of a source.

    table: one row a pair, ties included, with the columns pair_id, user_id (strings), caption, image_0, image_1,
        model_0, model_1, label_0 (1: the first image was preferred, 0: the second, 0.5: a tie) and where it was read:
        file (the name), row_group, row (in the group).
    counts: rows read and rows left out, by reason.
    """

    table: pa.Table
    counts: dict[str, int]


def source_files(folder: Path) -> list[Path]:
    """The parquet files of a source, sorted by name.

    Raises:
        UserError: there is no such folder, or none in it.
    """
    if not folder.is_dir():
        raise UserError(f"data.root: there is no folder {folder}; name the one that holds the parquet files")
    files = sorted(folder.glob("*.parquet"))
    if not files:
        raise UserError(f"data.root: {folder} holds no *.parquet files")
    return files


def source_fingerprint(folder: Path) -> str:
    """12 hex digits of the files' names, sizes and parquet footers, which change when the content does."""
    return fingerprint([[path.name, path.stat().st_size, _footer(path)] for path in source_files(folder)])


def open_parquet(path: Path, needed: tuple[str, ...]) -> pq.ParquetFile:
    """Open one file of a source.

    Raises:
        UserError: it is no parquet file, or lacks columns of the schema.
    """
    try:
        names = pq.read_schema(path).names
        images = [name for name in ("jpg_0", "jpg_1") if name in names]  # one image is often in many rows
        file = pq.ParquetFile(path, page_checksum_verification=True, read_dictionary=images)
    except DAMAGE as error:
        raise UserError(f"{path}: damaged or no parquet file ({_first_line(error)}); fetch or make it again") from error
    absent = [name for name in needed if name not in names]
    if absent:
        raise UserError(f"{path}: lacks the columns {', '.join(absent)} of Pick-a-Pic v2's schema")
    return file


def read_group(file: pq.ParquetFile, path: Path, group: int, columns: tuple[str, ...]) -> pa.Table:
    """Some columns of one row group, in the schema's types (binary columns keep their dictionary).

    Raises:
        UserError: the row group is damaged, or a column has another type.
    """
    try:
        table = file.read_row_group(group, columns=list(columns))
    except DAMAGE as error:
        raise UserError(
            f"{path}: row group {group} is damaged ({_first_line(error)}); fetch or make the file again"
        ) from error
    for name in columns:
        column, wanted = table[name], SCHEMA.field(name).type
        if column.type != wanted and not pa.types.is_dictionary(column.type):
            try:
                table = table.set_column(table.column_names.index(name), name, column.cast(wanted))
            except pa.ArrowException as error:
                raise UserError(
                    f"{path}: row group {group}: the column {name} holds {column.type}, expected {wanted}"
                ) from error
    return table


def read_rows(folder: Path) -> Rows:
    """Every usable row of the source's files.

    Left out, and counted: rows without a label, with an empty or missing field, whose two images are one, whose labels
    are neither a choice nor a tie, and repetitions of a pair by the same user under the same ranking (all of them where
    they contradict each other).

    Raises:
        UserError: a file or a row group is damaged, or no row is usable.
    """
    parts, counts = [], {"rows": 0}
    for path in source_files(folder):
        file = open_parquet(path, (*READ, "jpg_0", "jpg_1"))
        for group in range(file.num_row_groups):
            table = read_group(file, path, group, READ)
            counts["rows"] += len(table)
            place = {"file": pa.repeat(path.name, len(table)), "row_group": pa.repeat(group, len(table))}
            for name, values in (place | {"row": pa.array(range(len(table)), pa.int64())}).items():
                table = table.append_column(name, values)
            parts.append(table)
    table = pa.concat_tables(parts)
    reasons: dict[str, Callable[[pa.Table], pa.ChunkedArray]] = {
        "without_label": lambda t: t["has_label"],
        "incomplete": _complete,
        "same_image": lambda t: pc.not_equal(t["image_0_uid"], t["image_1_uid"]),
        "unclear_label": _clear,
    }
    for reason, usable in reasons.items():
        before = len(table)
        table = table.filter(pc.fill_null(usable(table), False))
        counts[reason] = before - len(table)
    table = _named(table)
    before = len(table)
    table = _without_repetitions(table)
    counts["repeated"] = before - len(table)
    counts["ties"] = pc.sum(pc.equal(table["label_0"], 0.5)).as_py() or 0
    if not len(table):
        raise UserError(f"{folder}: none of its {counts['rows']} rows can be used ({counts})")
    return Rows(table, counts)


def _complete(table: pa.Table) -> pa.ChunkedArray:
    whole = pc.and_(pc.is_valid(table["user_id"]), pc.is_valid(table["ranking_id"]))
    for name in ("caption", "image_0_uid", "image_1_uid"):
        whole = pc.and_(whole, pc.greater(pc.utf8_length(pc.utf8_trim_whitespace(table[name])), 0))
    return whole


def _clear(table: pa.Table) -> pa.ChunkedArray:
    known = pc.is_in(table["label_0"], value_set=pa.array([0.0, 0.5, 1.0]))
    return pc.and_(known, pc.equal(pc.add(table["label_0"], table["label_1"]), 1.0))


def _named(table: pa.Table) -> pa.Table:
    """The columns of `Rows`, with pair ids."""
    columns = [table[name].to_pylist() for name in ("user_id", "ranking_id", "caption", "image_0_uid", "image_1_uid")]
    users = pa.array([str(user) for user in columns[0]], pa.string())
    pairs = pa.array([_pair_id(*row) for row in zip(*columns, strict=True)], pa.string())
    kept = {"pair_id": pairs, "user_id": users, "caption": table["caption"]}
    kept |= {"image_0": table["image_0_uid"], "image_1": table["image_1_uid"]}
    kept |= {name: table[name] for name in ("model_0", "model_1", "label_0", "file", "row_group", "row")}
    return pa.table(kept)


def _pair_id(user: int, ranking: int, caption: str, image_0: str, image_1: str) -> str:
    """16 hex digits that do not depend on which of the two images stands first, nor on the label."""
    text = "\0".join([str(user), str(ranking), caption, *sorted((image_0, image_1))])
    return hashlib.blake2b(text.encode(), digest_size=8).hexdigest()


def _without_repetitions(table: pa.Table) -> pa.Table:
    if len(pc.unique(table["pair_id"])) == len(table):
        return table
    first: dict[str, int] = {}
    chosen: dict[str, set[str]] = {}
    pairs, labels = table["pair_id"].to_pylist(), table["label_0"].to_pylist()
    for row, (pair, label, one, two) in enumerate(
        zip(pairs, labels, table["image_0"].to_pylist(), table["image_1"].to_pylist(), strict=True)
    ):
        first.setdefault(pair, row)
        chosen.setdefault(pair, set()).add("" if label == 0.5 else (one if label == 1.0 else two))
    return table.take(pa.array([row for pair, row in first.items() if len(chosen[pair]) == 1], pa.int64()))


def _footer(path: Path) -> str:
    with path.open("rb") as file:
        size = file.seek(0, 2)
        file.seek(max(0, size - 8))
        length = int.from_bytes(file.read(4), "little")
        file.seek(max(0, size - 8 - length))
        return hashlib.sha256(file.read()).hexdigest()


def _first_line(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0].rstrip(".")
