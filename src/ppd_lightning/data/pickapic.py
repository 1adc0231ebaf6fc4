"""Pick-a-Pic v2's parquet schema: reading it defensively, row group by row group, from wherever fsspec reads.

Source of the schema: the data set card of `yuvalkirstain/pickapic_v2`. One thing is taken wider: a user_id may be text.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import reduce
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from ppd_lightning.data.pair_ids import pair_id
from ppd_lightning.data.parquet_files import FILES
from ppd_lightning.data.remote import Location, data_set, first_line
from ppd_lightning.errors import UserError
from ppd_lightning.storage.fingerprints import fingerprint

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

NO_ROWS = pa.schema(
    {name: pa.string() if name == "user_id" else SCHEMA.field(name).type for name in READ}
    | {"file": pa.string(), "row_group": pa.int64(), "row": pa.int64()}
).empty_table()
"""What is read of a file, and where it was."""

UNUSABLE_SCHEMA = pa.schema({"file": pa.string(), "row_group": pa.int64(), "row": pa.int64(), "reason": pa.string()})
"""A row that is damaged, by its place in the source."""

DAMAGE = (pa.ArrowException, OSError)
"""What pyarrow raises at a damaged file."""

AT_ONCE = 8
"""Files that are read side by side: what is far away answers late."""

STREAMED_ROWS = 16
"""Rows whose images are in memory at once."""

LOCAL_PIECE, REMOTE_PIECE = 1 << 20, 8 << 20
"""Bytes of a column that are read at once while its images are streamed; what is far away answers late."""


@dataclass(frozen=True)
class Rows:
    """The usable rows of a source.

    table: one row a pair, ties included, with the columns pair_id, user_id (strings), caption, image_0, image_1,
        model_0, model_1, label_0 (1: the first image was preferred, 0: the second, 0.5: a tie) and where it was read:
        file (the path from the root), row_group, row (in the group).
    counts: rows read and rows left out, by reason.
    unusable: of those left out, the ones that are damaged (`UNUSABLE_SCHEMA`).
    """

    table: pa.Table
    counts: dict[str, int]
    unusable: pa.Table


def source_files(root: str | Path, files: str = FILES) -> dict[str, int]:
    """The parquet files of a source, by their path from the root, and their sizes in bytes, sorted by path.

    Raises:
        UserError: the root cannot be read, is no folder, or holds no such files.
    """
    where = _location(root)
    try:
        is_folder, hub = where.is_folder(), "nor does the model hub have this data set"
    except UserError as error:
        is_folder, hub = False, f"and {error}"
    if not is_folder:
        tried = f", {hub}" if not where.is_local else ""
        raise UserError(f"data.root: there is no folder {root}{tried}; name the one that holds the parquet files")
    found = where.listed(files)
    if not found:
        raise UserError(f"data.root: {root} holds no files {files} (data.files chooses them)")
    return {name: int(info["size"]) for name, info in found.items()}


def source_fingerprint(root: str | Path, files: str = FILES) -> str:
    """12 hex digits of the files' paths, sizes and parquet footers, which change when the content does.

    Raises:
        UserError: the root cannot be read, is no folder, or holds no such files.
    """
    sizes, where = source_files(root, files), _location(root)
    with ThreadPoolExecutor(AT_ONCE) as pool:
        footers = list(pool.map(lambda name: _footer(where, name, sizes[name]), sizes))
    return fingerprint([[name, size, footer] for (name, size), footer in zip(sizes.items(), footers, strict=True)])


def open_parquet(root: str | Path, name: str, needed: tuple[str, ...], *, streamed: bool = False) -> pq.ParquetFile:
    """Open one file of a source, by its path from the root.

    Args:
        streamed: for `stream_group`: columns are read piece by piece instead of a row group at once.

    Raises:
        UserError: it cannot be read, is no parquet file, or lacks columns of the schema.
    """
    where = _location(root)
    try:
        source = f"{where.path}/{name}" if where.is_local else where.open(name)
        metadata = pq.read_metadata(source)
        names = metadata.schema.to_arrow_schema().names
        file = pq.ParquetFile(
            source,
            metadata=metadata,
            page_checksum_verification=True,
            buffer_size=(LOCAL_PIECE if where.is_local else REMOTE_PIECE) if streamed else 0,
            pre_buffer=not (where.is_local or streamed),
        )
    except DAMAGE as error:
        raise UserError(
            f"{where.url}/{name}: damaged or no parquet file ({first_line(error)}); fetch or make it again"
        ) from error
    except Exception as error:  # each remote file system has its own
        raise where.unreachable(error) from error
    absent = [column for column in needed if column not in names]
    if absent:
        raise UserError(f"{where.url}/{name}: lacks the columns {', '.join(absent)} of Pick-a-Pic v2's schema")
    return file


def read_group(file: pq.ParquetFile, path: str | Path, group: int, columns: tuple[str, ...]) -> pa.Table:
    """Some columns of one row group, in the schema's types (images stored as dictionaries stay so, user_id is text).

    Args:
        path: what to call the file in messages.

    Raises:
        UserError: the row group is damaged or cannot be read, or a column has another type.
    """
    try:
        table = file.read_row_group(group, columns=list(columns))
    except Exception as error:  # each remote file system has its own
        raise _unreadable(path, group, error) from error
    for name in columns:
        column, wanted = table[name], SCHEMA.field(name).type
        stored = column.type.value_type if pa.types.is_dictionary(column.type) else column.type
        if name == "user_id":
            wanted = pa.string()
            if not (pa.types.is_integer(stored) or _is_text(stored) or pa.types.is_null(stored)):
                raise UserError(_another_type(path, group, name, column, "int64 or text"))
        if column.type != wanted and not (stored != column.type and pa.types.is_binary(wanted)):
            try:
                table = table.set_column(table.column_names.index(name), name, column.cast(wanted))
            except pa.ArrowException as error:
                raise UserError(_another_type(path, group, name, column, str(wanted))) from error
    return table


def stream_group(
    file: pq.ParquetFile, path: str | Path, group: int, columns: tuple[str, ...], rows: Sequence[int]
) -> Iterator[tuple[pa.Scalar, ...]]:
    """The values of binary columns in some rows of one row group, holding hardly more than a page of each in memory.

    Args:
        file: opened as `streamed`.
        path: what to call the file in messages.
        rows: ascending numbers in the row group; one may come several times.

    Raises:
        UserError: the row group is damaged or cannot be read, or a column has another type.
    """
    batches = file.iter_batches(STREAMED_ROWS, row_groups=[group], columns=list(columns), use_threads=False)
    begin, end, values = 0, 0, []
    for row in rows:
        while row >= end:
            try:
                batch = next(batches)
            except Exception as error:  # each remote file system has its own
                raise _unreadable(path, group, error) from error
            begin, end, values = end, end + len(batch), [batch.column(name) for name in columns]
            for name, column in zip(columns, values, strict=True):
                kind = column.type.value_type if pa.types.is_dictionary(column.type) else column.type
                if not (pa.types.is_binary(kind) or pa.types.is_large_binary(kind)):
                    raise UserError(_another_type(path, group, name, column, "binary"))
        yield tuple(column[row - begin] for column in values)


def read_rows(root: str | Path, files: str = FILES) -> Rows:
    """Every usable row of the source's files.

    Left out, and counted: rows without a label, with an empty or missing field, whose two images are one, whose labels
    are neither a choice nor a tie, and repetitions of a pair by the same user under the same ranking (all of them where
    they contradict each other). All but rows without a label and plain repetitions are listed as unusable.

    Args:
        files: which files below the root, a glob.

    Raises:
        UserError: a file or a row group is damaged, or no row is usable.
    """
    names = source_files(root, files)
    with ThreadPoolExecutor(AT_ONCE) as pool:
        parts = list(pool.map(lambda name: _file_rows(root, name), names))
    counts = {"rows": sum(part.counts["rows"] for part in parts)}
    counts |= {reason: sum(part.counts[reason] for part in parts) for reason in REASONS}
    table, repeated, contradictory = _without_repetitions(pa.concat_tables([part.table for part in parts]))
    counts |= {"repeated": repeated, "contradictory": len(contradictory)}
    counts["ties"] = pc.sum(pc.equal(table["label_0"], 0.5)).as_py() or 0
    if not len(table):
        reasons = ", ".join(f"{reason} {count}" for reason, count in counts.items() if count and reason != "rows")
        raise UserError(f"{root}: none of its {counts['rows']} rows can be used ({reasons or 'there are none'})")
    unusable = pa.concat_tables([*(part.unusable for part in parts), unusable_rows(contradictory, "contradictory")])
    return Rows(table, counts, unusable)


def _file_rows(root: str | Path, name: str) -> Rows:
    """The usable rows of a file; which of them are repeated is not looked at."""
    file, path = open_parquet(root, name, (*READ, "jpg_0", "jpg_1")), f"{_location(root).url}/{name}"
    groups = [NO_ROWS]
    for group in range(file.num_row_groups):
        table = read_group(file, path, group, READ)
        count = len(table)
        place = [pa.repeat(name, count), pa.array(np.full(count, group)), pa.array(np.arange(count))]
        groups.append(pa.table([*table.columns, *place], names=NO_ROWS.column_names))
    table = pa.concat_tables(groups)
    counts, unusable = {"rows": len(table)}, []
    for reason, is_usable in REASONS.items():
        usable = pc.fill_null(is_usable(table), False)
        left_out, table = table.filter(pc.invert(usable)), table.filter(usable)
        counts[reason] = len(left_out)
        if reason != "without_label":
            unusable.append(unusable_rows(left_out, reason))
    return Rows(_named(table), counts, pa.concat_tables(unusable))


def _filled(*names: str) -> Callable[[pa.Table], pa.ChunkedArray]:
    """Whether all these columns hold text other than spaces."""

    def filled(table: pa.Table) -> pa.ChunkedArray:
        return reduce(pc.and_, [pc.greater(pc.utf8_length(pc.utf8_trim_whitespace(table[name])), 0) for name in names])

    return filled


def _clear(table: pa.Table) -> pa.ChunkedArray:
    known = pc.is_in(table["label_0"], value_set=pa.array([0.0, 0.5, 1.0]))
    return pc.and_(known, pc.equal(pc.add(table["label_0"], table["label_1"]), 1.0))


REASONS: dict[str, Callable[[pa.Table], pa.ChunkedArray]] = {
    "without_label": lambda table: table["has_label"],
    "empty_caption": _filled("caption"),
    "no_user": _filled("user_id"),
    "no_ranking": lambda table: pc.is_valid(table["ranking_id"]),
    "no_image": _filled("image_0_uid", "image_1_uid"),
    "same_image": lambda table: pc.not_equal(table["image_0_uid"], table["image_1_uid"]),
    "unclear_label": _clear,
}
"""Why a row is left out, and what tells a usable one."""


def unusable_rows(rows: pa.Table, reason: str) -> pa.Table:
    """Rows in the table of unusable ones."""
    places = [rows[name] for name in ("file", "row_group", "row")]
    return pa.table([*places, pa.repeat(reason, len(rows))], schema=UNUSABLE_SCHEMA)


def _named(table: pa.Table) -> pa.Table:
    """The columns of `Rows`, with pair ids."""
    columns = [table[name].to_pylist() for name in ("user_id", "ranking_id", "caption", "image_0_uid", "image_1_uid")]
    pairs = pa.array([pair_id(*row) for row in zip(*columns, strict=True)], pa.string())
    kept = {"pair_id": pairs, "user_id": table["user_id"], "caption": table["caption"]}
    kept |= {"image_0": table["image_0_uid"], "image_1": table["image_1_uid"]}
    kept |= {name: table[name] for name in ("model_0", "model_1", "label_0", "file", "row_group", "row")}
    return pa.table(kept)


def _without_repetitions(table: pa.Table) -> tuple[pa.Table, int, pa.Table]:
    """The first row of every pair with one label; how many repeat it; the rows that contradict each other."""
    counted = pc.value_counts(table["pair_id"])
    several = counted.field("values").filter(pc.greater(counted.field("counts"), 1))
    if not len(several):
        return table, 0, table.slice(0, 0)
    again = pc.is_in(table["pair_id"], value_set=several)
    rows = pc.indices_nonzero(again).to_pylist()
    first: dict[str, int] = {}
    chosen: dict[str, set[str]] = {}
    of_pair: dict[str, list[int]] = {}
    for row, values in zip(rows, table.filter(again).to_pylist(), strict=True):
        pair, label = values["pair_id"], values["label_0"]
        first.setdefault(pair, row)
        of_pair.setdefault(pair, []).append(row)
        chosen.setdefault(pair, set()).add("" if label == 0.5 else values["image_0" if label == 1.0 else "image_1"])
    wrong = sorted(row for pair, own in of_pair.items() if len(chosen[pair]) > 1 for row in own)
    kept = pc.invert(again).to_numpy()
    kept[[row for pair, row in first.items() if len(chosen[pair]) == 1]] = True
    return table.filter(pa.array(kept)), int((~kept).sum()) - len(wrong), table.take(pa.array(wrong, pa.int64()))


def _location(root: str | Path) -> Location:
    return data_set(root, "data.root")


def _is_text(kind: pa.DataType) -> bool:
    return bool(pa.types.is_string(kind) or pa.types.is_large_string(kind))


def _unreadable(path: str | Path, group: int, error: Exception) -> UserError:
    if isinstance(error, DAMAGE):
        return UserError(f"{path}: row group {group} is damaged ({first_line(error)}); fetch or make the file again")
    return UserError(f"{path}: row group {group} cannot be read ({first_line(error)}); the same command again goes on")


def _another_type(path: str | Path, group: int, name: str, column: pa.ChunkedArray, expected: str) -> str:
    return f"{path}: row group {group}: the column {name} holds {column.type}, expected {expected}"


def _footer(where: Location, name: str, size: int) -> str:
    """The SHA-256 of a parquet file's footer: the schema, and where every page lies and how long it is."""
    try:
        with where.open(name) as file:
            file.seek(max(0, size - 8))
            length = int.from_bytes(file.read(4), "little")
            file.seek(max(0, size - 8 - length))
            return hashlib.sha256(file.read()).hexdigest()
    except Exception as error:  # each file system has its own
        raise where.unreachable(error) from error
