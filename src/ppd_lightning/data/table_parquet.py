"""Tables in parquet, of any writer: the cells of the columns that are asked for, as Python's plain values.

A cell that is neither text, number, switch nor an image, nor a list or struct of these, is given as `Unread`, so that
its row is refused where it counts, and nothing fails on columns that nobody asked for.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ppd_lightning.data.saved_datasets import class_names, label_of
from ppd_lightning.data.table_json import is_blank
from ppd_lightning.errors import UserError

if TYPE_CHECKING:
    import pyarrow as pa

IMAGE_ROWS, TEXT_ROWS = 16, 1 << 16
"""Rows that are in memory at once, where the columns hold images and where they do not."""

PIECE = 1 << 20
"""Bytes of a column that are read at once."""


@dataclass(frozen=True)
class Unread:
    """A cell that is none of what is read; kind says what it is."""

    kind: str

    def __str__(self) -> str:
        return self.kind


def parquet_rows(
    file: Any, url: str, choose: Callable[[list[str]], Collection[str]]
) -> Iterator[tuple[int, dict[str, Any] | str]]:
    """The rows, each with its number from 1; rows of which no such column holds anything are not there.

    Args:
        file: binary.
        url: as messages name it.
        choose: gives, of all names of columns, those whose cells are wanted.

    Raises:
        UserError: pyarrow is not installed.
        OSError, ValueError: the file is damaged or no parquet.
    """
    try:
        import pyarrow.parquet as pq  # where this is read in an export, it need not be installed
    except ImportError:
        raise UserError(f"{url}: parquet is read by pyarrow, which is not installed; save it as CSV") from None
    opened = pq.ParquetFile(file, buffer_size=PIECE)
    yield from batch_rows(
        opened.schema_arrow, lambda names, rows: opened.iter_batches(rows, columns=names, use_threads=False), choose
    )


def batch_rows(
    schema: pa.Schema,
    batches: Callable[[list[str], int], Iterable[pa.RecordBatch]],
    choose: Callable[[list[str]], Collection[str]],
) -> Iterator[tuple[int, dict[str, Any] | str]]:
    """As `parquet_rows`, of record batches; numbers of class labels are their names.

    Args:
        batches: gives, of some columns, all rows in batches of at most so many.
    """
    import pyarrow as pa

    def stored(kind: pa.DataType) -> pa.DataType:
        if isinstance(kind, pa.BaseExtensionType):
            return stored(kind.storage_type)
        return stored(kind.value_type) if pa.types.is_dictionary(kind) else kind

    def is_bytes(kind: pa.DataType) -> bool:
        some = (pa.types.is_binary, pa.types.is_large_binary, pa.types.is_fixed_size_binary, pa.types.is_binary_view)
        return any(test(kind) for test in some)

    def is_list(kind: pa.DataType) -> bool:
        some = (pa.types.is_list, pa.types.is_large_list, pa.types.is_fixed_size_list)
        return any(test(kind) for test in (*some, pa.types.is_list_view, pa.types.is_large_list_view))

    def is_image(kind: pa.DataType) -> bool:
        if is_list(kind):
            return is_image(kind.value_type)
        if pa.types.is_struct(kind):
            return {"bytes", "path"} & {field.name for field in kind} != set()
        return is_bytes(kind)

    def is_plain(kind: pa.DataType) -> bool:
        if is_list(kind):
            return is_plain(stored(kind.value_type))
        if pa.types.is_struct(kind) and not is_image(kind):
            return all(is_plain(stored(field.type)) for field in kind)
        texts = (pa.types.is_string, pa.types.is_large_string, pa.types.is_string_view)
        numbers = (pa.types.is_integer, pa.types.is_floating, pa.types.is_decimal, pa.types.is_boolean)
        return any(test(kind) for test in (*texts, *numbers, pa.types.is_null)) or is_image(kind)

    def cell(scalar: pa.Scalar) -> Any:
        try:
            return scalar.as_py()
        except (ValueError, OverflowError) as error:
            return Unread("no text in UTF-8" if isinstance(error, UnicodeDecodeError) else f"a {scalar.type}")

    def cells(column: pa.Array) -> list[Any]:
        kind = stored(column.type)
        if not is_plain(kind):
            unread = Unread(f"a {kind}" if not pa.types.is_nested(kind) else f"a {str(kind).partition('<')[0]}")
            return [unread if valid else None for valid in column.is_valid().to_pylist()]
        if isinstance(column.type, pa.BaseExtensionType):
            column = column.storage
        try:
            return list(column.to_pylist())
        except (ValueError, OverflowError):
            return [cell(scalar) for scalar in column]

    names = list(dict.fromkeys(choose(list(schema.names))))
    light = not any(is_image(stored(schema.field(name).type)) for name in names)
    classes, number = class_names(schema), 0
    for batch in batches(names, TEXT_ROWS if light else IMAGE_ROWS):
        columns = [cells(batch.column(name)) for name in names]
        for place, name in enumerate(names):
            if name in classes:
                columns[place] = [label_of(classes[name], value) for value in columns[place]]
        for values in zip(*columns, strict=True):
            number += 1
            row = dict(zip(names, values, strict=True))
            if not is_blank(row):
                yield number, row
