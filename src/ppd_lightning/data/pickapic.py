"""Pick-a-Pic v2's parquet schema: reading it defensively, row group by row group, from wherever fsspec reads.

Source of the schema: the data set card of `yuvalkirstain/pickapic_v2`. One thing is taken wider: a user_id may be text.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

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

DAMAGE = (pa.ArrowException, OSError)
"""What pyarrow raises at a damaged file."""

ANOTHER_FILE = "fetch it again, or, if `ppd prepare` made it, delete it and run that"
"""What to do about a damaged file."""

AT_ONCE = 8
"""Files that are read side by side: what is far away answers late."""

STREAMED_ROWS = 16
"""Rows whose images are in memory at once."""

LOCAL_PIECE, REMOTE_PIECE = 1 << 20, 8 << 20
"""Bytes of a column that are read at once while its images are streamed; what is far away answers late."""


def source_files(root: str | Path, files: str = FILES) -> dict[str, int]:
    """The parquet files of a source, by their path from the root, and their sizes in bytes, sorted by path.

    Raises:
        UserError: the root cannot be read, is no folder, or holds no such files.
    """
    where = location_of(root)
    try:
        is_folder, hub = where.is_folder(), "nor does the model hub have this data set"
    except UserError as error:
        is_folder, hub = False, f"and {error}"
    if not is_folder:
        if where.is_web:
            hub = "for what a web server has cannot be listed: fetch it, or name it as hf://, s3:// or gs://"
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
    sizes, where = source_files(root, files), location_of(root)
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
    where = location_of(root)
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
            f"{where.url}/{name}: damaged or no parquet file ({first_line(error)}); {ANOTHER_FILE}"
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
            number = pa.types.is_integer(stored) or pa.types.is_floating(stored) or pa.types.is_decimal(stored)
            if not (number or _is_text(stored) or pa.types.is_null(stored)):
                raise UserError(_another_type(path, group, name, column, "numbers or text"))
            if pa.types.is_floating(stored):
                whole = pc.and_(pc.is_finite(column), pc.equal(column, pc.floor(column)))
                column = pc.if_else(whole, column, None)
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


def location_of(root: str | Path) -> Location:
    """Where a source is."""
    return data_set(root, "data.root")


def _is_text(kind: pa.DataType) -> bool:
    return bool(pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_string_view(kind))


def _unreadable(path: str | Path, group: int, error: Exception) -> UserError:
    if isinstance(error, UserError):
        return error
    if isinstance(error, DAMAGE):
        return UserError(f"{path}: row group {group} is damaged ({first_line(error)}); {ANOTHER_FILE}")
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
