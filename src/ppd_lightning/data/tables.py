"""Small parquet tables that carry in their metadata what they were made from."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from ppd_lightning.run.atomic import atomic_path
from ppd_lightning.run.errors import UserError

KEY = b"ppd_lightning.key"
REMEDY = "run `ppd prepare` with the same settings"


def write_table(path: Path, table: pa.Table, key: Mapping[str, str]) -> None:
    """Write a table and its key, whole or not at all."""
    with atomic_path(path) as temporary:
        pq.write_table(table.replace_schema_metadata({KEY: json.dumps(dict(key))}), temporary)


def table_key(path: Path) -> dict[str, str]:
    """What the table at `path` was made from.

    Raises:
        UserError: there is no table, or it is damaged.
    """
    try:
        metadata = pq.read_schema(path).metadata or {}
    except FileNotFoundError:
        raise UserError(f"{path}: this table is missing; {REMEDY}") from None
    except (OSError, pa.ArrowException) as error:
        raise _damaged(path, error) from error
    key: dict[str, str] = json.loads(metadata.get(KEY, b"{}"))
    return key


def read_table(path: Path, schema: pa.Schema, key: Mapping[str, str] | None = None) -> pa.Table:
    """The table at `path`.

    Args:
        key: what it must have been made from; None takes it as it is.

    Raises:
        UserError: it is missing, damaged, has other columns, or was made from something else.
    """
    made_from = table_key(path)
    if key is not None and made_from != key:
        parts = sorted(part for part in made_from.keys() | key.keys() if made_from.get(part) != key.get(part))
        told = "; ".join(f"{part} was {made_from.get(part)!r}, now {key.get(part)!r}" for part in parts)
        raise UserError(f"{path}: this table is stale ({told}); {REMEDY}")
    try:
        table = pq.read_table(path, partitioning=None)
    except (OSError, pa.ArrowException) as error:
        raise _damaged(path, error) from error
    if table.schema.remove_metadata() != schema:
        columns = ", ".join(f"{field.name} ({field.type})" for field in schema)
        raise UserError(f"{path}: expected the columns {columns}; delete it and {REMEDY}")
    return table.replace_schema_metadata(None)


def _damaged(path: Path, error: Exception) -> UserError:
    reason = (str(error).splitlines() or [type(error).__name__])[0].rstrip(".")
    return UserError(f"{path}: damaged or no parquet file ({reason}); delete it and {REMEDY}")
