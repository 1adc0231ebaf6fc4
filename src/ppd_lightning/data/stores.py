"""Stores: arrays with one row for each distinct thing, keyed by id, memory-mapped, and bound to what made them.

A store is a folder of shards, a shard one unit of rows: an Arrow file with their ids and arrays, whose schema carries
its key. Units are written in any order by any number of processes (`write_shard`), and `finish_store` puts the whole
in place at once with `meta.json`, which names the units in order. Nothing is locked and no shard is overwritten by
another one: its name holds its checksum, and a note beside it says which shard is whose unit. So a killed run goes on
with the units that have no note, and a unit that two processes made at once is no conflict.

N = rows, n = rows of a shard.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from ppd_lightning.data.shards import (
    Shard,
    as_numpy,
    as_read,
    finished_units,
    map_shard,
    note_path,
    read_note,
    write_shard,
)
from ppd_lightning.errors import UserError
from ppd_lightning.storage.atomic import write_json_atomic

META = "meta.json"


class StoredArray:
    """One array of a store, (N, ...), in memory-mapped parts; indexing copies the rows that it names.

    A process that is given one (a worker of a data loader) maps the same files again.
    """

    def __init__(self, name: str, paths: Sequence[Path], parts: Sequence[np.ndarray]) -> None:
        self._name, self._paths, self._parts = name, tuple(paths), tuple(parts)
        lengths = np.array([len(part) for part in parts])
        self._ends = np.cumsum(lengths)
        self._begins = self._ends - lengths
        self.dtype: np.dtype[Any] = parts[0].dtype
        self.shape: tuple[int, ...] = (int(self._ends[-1]), *parts[0].shape[1:])

    @property
    def folder(self) -> Path:
        """Where its store lies."""
        return self._paths[0].parent

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, rows: np.ndarray | Sequence[int] | slice) -> np.ndarray:
        """A copy of some rows, (len(rows), ...), by their numbers in any order.

        Raises:
            IndexError: a row is not in [-N, N).
        """
        if isinstance(rows, slice):
            begin, end, step = rows.indices(len(self))
            if step != 1:
                raise TypeError("rows are chosen one after the other, or by their numbers")
            whole = zip(self._parts, self._begins.tolist(), strict=True)
            return np.concatenate([part[max(begin - at, 0) : max(end - at, 0)] for part, at in whole])
        wanted = np.asarray(rows) if np.size(rows) else np.empty(0, np.int64)
        if wanted.ndim != 1 or wanted.dtype.kind not in "iu":
            raise TypeError(f"rows are chosen by their numbers, not by {wanted.shape} {wanted.dtype}")
        if ((wanted < -len(self)) | (wanted >= len(self))).any():
            raise IndexError(f"{self._name} has no row beyond its {len(self)}")
        wanted = wanted % len(self)
        part = np.searchsorted(self._ends, wanted, "right")
        own = wanted - self._begins[part]
        copy = np.empty((len(wanted), *self.shape[1:]), self.dtype)
        for place, (number, row) in enumerate(zip(part.tolist(), own.tolist(), strict=True)):
            copy[place] = self._parts[number][row]
        return copy

    def __reduce__(self) -> tuple[Any, ...]:
        return _mapped_again, (self._name, self._paths)


class Store:
    """An opened store.

    ids: N strings. arrays: each (N, ...), memory-mapped. key: what the store was made from. units: the names of its
    shards' units, in the order of the rows.
    """

    def __init__(self, folder: Path, key: dict[str, Any], shards: Sequence[Shard]) -> None:
        self.folder, self.key = folder, key
        self.units = tuple(shard.unit for shard in shards)
        self._shards = tuple(shards)
        paths = [folder / shard.file for shard in shards]
        opened = [map_shard(path) for path in paths]
        self.ids: pa.Array = pa.concat_arrays([part["id"] for part in opened])
        self.arrays = {
            name: StoredArray(name, paths, [as_numpy(part[name]) for part in opened])
            for name in opened[0].schema.names
            if name != "id"
        }

    @classmethod
    def open(cls, folder: Path, key: Mapping[str, Any] | None, *, made_by: str = "ppd prepare") -> Store:
        """Open the store in `folder` if it was made from exactly `key`; None takes it as it is.

        Checks sizes and shapes, not every byte: that is what `verify` does.

        Args:
            made_by: the command that makes such a store, for the messages.

        Raises:
            UserError: the store is missing, damaged, or made from something else.
        """
        remedy = f"run `{made_by}` with the same settings"
        try:
            meta = json.loads((folder / META).read_text(encoding="utf-8"))
            made_from, count = dict(meta["key"]), int(meta["count"])
            shards = [Shard(shard) for shard in meta["shards"]]
        except FileNotFoundError:
            raise UserError(f"{folder}: this store is missing; {remedy}") from None
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise UserError(f"{folder / META}: damaged ({error!r}); delete {folder} and {remedy}") from error
        key = made_from if key is None else as_read(key)
        if made_from != key:
            differing = sorted(part for part in made_from.keys() | key.keys() if made_from.get(part) != key.get(part))
            changes = "; ".join(f"{part} was {made_from.get(part)!r}, now {key.get(part)!r}" for part in differing)
            raise UserError(f"{folder}: this store is stale ({changes}); {remedy}")
        faults = [fault for shard in shards if (fault := shard.wrong_size(folder))]
        if faults:
            raise UserError([f"{fault}; delete it and {remedy}" for fault in faults])
        try:
            store = cls(folder, made_from, shards)
        except (ValueError, KeyError, IndexError, OSError, pa.ArrowException) as error:
            raise UserError(f"{folder}: damaged ({error}); delete it and {remedy}") from error
        if len(store) != count:
            raise UserError(f"{folder}: damaged ({len(store)} rows instead of {count}); delete it and {remedy}")
        return store

    def __len__(self) -> int:
        return len(self.ids)

    def index(self, ids: Sequence[str] | pa.Array | pa.ChunkedArray) -> np.ndarray:
        """The row of each id, (len(ids),) int64.

        Raises:
            UserError: an id has no row.
        """
        wanted = ids if isinstance(ids, pa.Array | pa.ChunkedArray) else pa.array(ids, pa.string())
        rows = pc.index_in(wanted, value_set=self.ids)
        if rows.null_count:
            absent = pc.filter(wanted, pc.is_null(rows)).unique().to_pylist()
            raise UserError(
                f"{self.folder}: this store holds no row for {', '.join(absent[:3])}"
                f"{f' and {len(absent) - 3} more' if len(absent) > 3 else ''}; delete the folder and make it again"
            )
        return np.asarray(rows).astype(np.int64)

    def rows(self, ids: Sequence[str] | pa.Array | pa.ChunkedArray) -> dict[str, np.ndarray]:
        """Copies of the rows of `ids`, in their order, of every array."""
        index = self.index(ids)
        return {name: array[index] for name, array in self.arrays.items()}

    def verify(self) -> None:
        """Read every byte.

        Raises:
            UserError: a shard differs from what was written.
        """
        faults = [fault for shard in self._shards if (fault := shard.damage(self.folder))]
        if faults:
            raise UserError([f"{fault}; delete it and run the command that made it again" for fault in faults])


def finish_store(folder: Path, units: Sequence[str], key: Mapping[str, Any], shard_key: Mapping[str, Any]) -> None:
    """Make a store of written units; it takes the place of the one in `folder`, whose files go.

    Every byte of the shards is read and checked. Where the same store is in place already, nothing is done.

    Args:
        units: in the order that the rows shall have.
        key: what the store is made from.
        shard_key: the key that the shards were written with.

    Raises:
        UserError: a unit is missing or damaged; all of them are named.
        ValueError: there is no unit, an id comes twice, or the units differ in their arrays.
    """
    if not units:
        raise ValueError(f"{folder}: nothing to store")
    try:
        if Store.open(folder, key).units == tuple(units):
            return
    except UserError:
        pass  # missing, damaged or stale: made anew
    notes = {unit: read_note(folder, unit, shard_key) for unit in units}
    missing = [unit for unit, note in notes.items() if note is None]
    shards = [note for note in notes.values() if note is not None]
    again = "run the same command again"
    faults = [f"{fault}; delete it and {again}" for shard in shards if (fault := shard.damage(folder))]
    if missing:
        named = ", ".join(missing[:3]) + (f" and {len(missing) - 3} more" if len(missing) > 3 else "")
        faults.append(f"{folder}: {len(missing)} of {len(notes)} parts are not written yet ({named}); {again}")
    if faults:
        raise UserError(faults)
    parts = [map_shard(folder / shard.file) for shard in shards]
    for part, unit in zip(parts, units, strict=True):
        if not part.schema.equals(parts[0].schema, check_metadata=True):
            raise ValueError(f"{folder}: the units {units[0]} and {unit} differ in their arrays")
    ids = pa.chunked_array([part["id"] for part in parts])
    if len(pc.unique(ids)) != len(ids):
        raise ValueError(f"{folder}: an id comes twice")
    meta = {"key": as_read(key), "count": len(ids), "shards": [shard.note for shard in shards]}
    try:
        write_json_atomic(folder / META, meta)
    except FileNotFoundError:
        # Another process finished the store too and swept this file while it had its temporary name.
        Store.open(folder, key)
        return
    _sweep(folder, shards, shard_key)


def write_store(folder: Path, ids: Sequence[str], arrays: Mapping[str, np.ndarray], key: Mapping[str, Any]) -> None:
    """Write a whole store at once: ids (N,), arrays (N, ...)."""
    write_shard(folder, "all", ids, arrays, key)
    finish_store(folder, ["all"], key, key)


def _mapped_again(name: str, paths: Sequence[Path]) -> StoredArray:
    return StoredArray(name, paths, [as_numpy(map_shard(path)[name]) for path in paths])


def _sweep(folder: Path, shards: Sequence[Shard], key: Mapping[str, Any]) -> None:
    """Remove older versions and what killed processes have left; not what a note of this version names."""
    noted = [shard for unit in finished_units(folder, key) if (shard := read_note(folder, unit, key))]
    kept = {META} | {shard.file for shard in [*shards, *noted]}
    kept |= {note_path(folder, shard.unit, key).name for shard in shards}
    for path in [*folder.glob("*.arrow"), *folder.glob("*.json"), *folder.glob(".*.arrow"), *folder.glob(".*.json")]:
        if path.name not in kept:
            path.unlink(missing_ok=True)
