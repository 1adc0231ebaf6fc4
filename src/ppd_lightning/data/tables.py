"""Tables as memory-mapped Arrow files, each with a small JSON beside it: its checksum, and what it was made from.

Text that repeats is stored once, so a table of a million pairs opens in a moment and takes the memory that is touched.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from ppd_lightning.errors import UserError
from ppd_lightning.storage.atomic import atomic_path, write_json_atomic


def write_table(path: Path, table: pa.Table, key: Mapping[str, str]) -> None:
    """Write a table, `path`, and then its key and checksum, `path` with the suffix .json."""
    columns = {name: _compact(table[name]) for name in table.column_names}
    with atomic_path(path) as temporary:
        with pa.OSFile(str(temporary), "wb") as file:
            stored = pa.table(columns)
            with pa.ipc.new_file(file, stored.schema) as writer:
                writer.write_table(stored)
        with pa.memory_map(str(temporary)) as written:
            metadata = {"key": dict(key), "rows": len(table), "sha256": _sha256(written)}
    write_json_atomic(_metadata_path(path), metadata)


def table_key(path: Path, *, made_by: str = "ppd prepare") -> dict[str, str]:
    """What the table at `path` was made from.

    Args:
        made_by: the command that makes such a table, for the messages.

    Raises:
        UserError: there is no table, or it is damaged.
    """
    key: dict[str, str] = _read_metadata(path, _remedy(made_by))["key"]
    return key


def read_table(
    path: Path,
    schema: pa.Schema,
    key: Mapping[str, str] | None = None,
    *,
    columns: Sequence[str] | None = None,
    compact: bool = False,
    made_by: str = "ppd prepare",
) -> pa.Table:
    """The table at `path`.

    Args:
        schema: of the whole table.
        key: what it must have been made from; None takes it as it is.
        columns: which of the schema's are given; None is all.
        compact: leave text that repeats as dictionaries, which stay memory-mapped.
        made_by: the command that makes such a table, for the messages.

    Raises:
        UserError: it is missing, damaged, has other columns, or was made from something else.
    """
    remedy = _remedy(made_by)
    made_from = _read_metadata(path, remedy)["key"]
    if key is not None and made_from != key:
        parts = sorted(part for part in made_from.keys() | key.keys() if made_from.get(part) != key.get(part))
        differing = "; ".join(f"{part} was {made_from.get(part)!r}, now {key.get(part)!r}" for part in parts)
        raise UserError(f"{path}: this table is stale ({differing}); {remedy}")
    try:
        table = pa.ipc.open_file(verified(path, remedy)).read_all()
    except (OSError, pa.ArrowException) as error:
        raise _damaged(path, str(error), remedy) from error
    if [(field.name, _plain(field.type)) for field in table.schema] != [(f.name, _plain(f.type)) for f in schema]:
        expected = ", ".join(f"{field.name} ({field.type})" for field in schema)
        raise UserError(f"{path}: expected the columns {expected}; delete it and {remedy}")
    if columns is not None:
        table, schema = table.select(columns), pa.schema([schema.field(name) for name in columns])
    return table if compact else table.cast(schema)


def verified(path: Path, remedy: str = "run the command that made it again") -> pa.MemoryMappedFile:
    """The file of a table, memory-mapped, every byte of which was read.

    Raises:
        UserError: it is missing, or differs from what was written.
    """
    metadata = _read_metadata(path, remedy)
    try:
        file = pa.memory_map(str(path))
        if _sha256(file) != metadata["sha256"]:
            raise _damaged(path, "its checksum differs", remedy)
    except FileNotFoundError:
        raise _missing(path, remedy) from None
    except (OSError, pa.ArrowException) as error:
        raise _damaged(path, str(error), remedy) from error
    return file


def _compact(column: pa.ChunkedArray) -> pa.Array:
    """A column in one piece, text as a dictionary where that takes less room."""
    if pa.types.is_string(column.type):
        coded = pc.dictionary_encode(column.combine_chunks())
        if coded.nbytes < column.nbytes:
            return coded
    return column.combine_chunks()


def _plain(kind: pa.DataType) -> pa.DataType:
    return kind.value_type if pa.types.is_dictionary(kind) else kind


def _metadata_path(path: Path) -> Path:
    return path.with_suffix(".json")


def _remedy(made_by: str) -> str:
    return f"run `{made_by}` with the same settings"


def _read_metadata(path: Path, remedy: str) -> dict[str, Any]:
    try:
        metadata = json.loads(_metadata_path(path).read_text(encoding="utf-8"))
        return {"key": dict(metadata["key"]), "sha256": str(metadata["sha256"])}
    except FileNotFoundError:
        raise _missing(path, remedy) from None
    except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
        raise UserError(f"{_metadata_path(path)}: damaged ({error!r}); delete it and {remedy}") from error


def _sha256(file: pa.MemoryMappedFile) -> str:
    file.seek(0)
    return hashlib.sha256(file.read_buffer()).hexdigest()


def _missing(path: Path, remedy: str) -> UserError:
    return UserError(f"{path}: this table is missing; {remedy}")


def _damaged(path: Path, reason: str, remedy: str) -> UserError:
    first = (reason.splitlines() or ["no reason is known"])[0].rstrip(".")
    return UserError(f"{path}: damaged ({first}); delete it and {remedy}")
