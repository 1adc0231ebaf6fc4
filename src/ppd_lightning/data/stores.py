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
import mmap
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from ppd_lightning.data.shards import (
    DAMAGED,
    Shard,
    as_numpy,
    as_read,
    batch_of,
    finished_units,
    map_file,
    map_shard,
    note_path,
    read_note,
    write_shard,
)
from ppd_lightning.errors import UserError
from ppd_lightning.storage.atomic import write_json_atomic

META = "meta.json"


class TouchedShards:
    """The shards of a store, mapped, and which of them were compared with their checksums.

    Processes that are forked from this one share what was compared. A shard that is gone since it was mapped, because
    a new version took its place, is compared as it is in memory.

    Args:
        folder: of the store.
        shards: of it.
        remedy: what makes a shard again, in words.
    """

    def __init__(self, folder: Path, shards: Sequence[Shard], remedy: str) -> None:
        self.folder, self.shards, self.remedy = folder, tuple(shards), remedy
        self.mapped = [map_file(folder / shard.file) for shard in shards]
        self._whole = np.frombuffer(mmap.mmap(-1, max(1, len(shards))), np.uint8)[: len(shards)]

    def require(self, numbers: np.ndarray) -> None:
        """Compare those of these shards, by their numbers, that were not compared yet.

        Raises:
            UserError: one is damaged.
        """
        if self._whole[numbers].all():
            return
        for number in np.unique(numbers).tolist():
            if not self._whole[number]:
                self.shards[number].require(self.folder, self.remedy, self.mapped[number])
                self._whole[number] = 1

    def require_all(self) -> None:
        """Compare all, whatever was compared before.

        Raises:
            UserError: some are damaged; all of them are named.
        """
        faults: list[str] = []
        for number, shard in enumerate(self.shards):
            try:
                shard.require(self.folder, self.remedy, self.mapped[number])
                self._whole[number] = 1
            except UserError as error:
                faults += error.faults
        if faults:
            raise UserError(faults)

    def __reduce__(self) -> tuple[Any, ...]:
        return _touched_again, (self.folder, [shard.note for shard in self.shards], self.remedy)


class StoredArray:
    """One array of a store, (N, ...), in memory-mapped parts; indexing copies the rows that it names.

    A shard is compared with its checksum when a row of it is first asked for. A process that is given one (a worker of
    a data loader) maps the same files again.
    """

    def __init__(self, name: str, touched: TouchedShards, parts: Sequence[np.ndarray]) -> None:
        self._name, self._touched, self._parts = name, touched, tuple(parts)
        lengths = np.array([len(part) for part in parts])
        self._ends = np.cumsum(lengths)
        self._begins = self._ends - lengths
        self.dtype: np.dtype[Any] = parts[0].dtype
        self.shape: tuple[int, ...] = (int(self._ends[-1]), *parts[0].shape[1:])

    @property
    def folder(self) -> Path:
        """Where its store lies."""
        return self._touched.folder

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, rows: np.ndarray | Sequence[int] | slice) -> np.ndarray:
        """A copy of some rows, (len(rows), ...), by their numbers in any order.

        Raises:
            IndexError: a row is not in [-N, N).
            UserError: their shard is damaged; it is set aside, and what makes it again is named.
        """
        if isinstance(rows, slice):
            begin, end, step = rows.indices(len(self))
            if step != 1:
                raise TypeError("rows are chosen one after the other, or by their numbers")
            self._touched.require(np.flatnonzero((self._begins < end) & (self._ends > begin)))
            whole = zip(self._parts, self._begins.tolist(), strict=True)
            return np.concatenate([part[max(begin - at, 0) : max(end - at, 0)] for part, at in whole])
        wanted = np.asarray(rows) if np.size(rows) else np.empty(0, np.int64)
        if wanted.ndim != 1 or wanted.dtype.kind not in "iu":
            raise TypeError(f"rows are chosen by their numbers, not by {wanted.shape} {wanted.dtype}")
        if ((wanted < -len(self)) | (wanted >= len(self))).any():
            raise IndexError(f"{self._name} has no row beyond its {len(self)}")
        wanted = wanted % len(self)
        part = np.searchsorted(self._ends, wanted, "right")
        self._touched.require(part)
        own = wanted - self._begins[part]
        copy = np.empty((len(wanted), *self.shape[1:]), self.dtype)
        for place, (number, row) in enumerate(zip(part.tolist(), own.tolist(), strict=True)):
            copy[place] = self._parts[number][row]
        return copy

    def __reduce__(self) -> tuple[Any, ...]:
        return _mapped_again, (self._name, self._touched)


class Store:
    """An opened store.

    ids: N strings. arrays: each (N, ...), memory-mapped. key: what the store was made from. units: the names of its
    shards' units, in the order of the rows.
    """

    def __init__(self, folder: Path, key: dict[str, Any], shards: Sequence[Shard], remedy: str) -> None:
        self.folder, self.key = folder, key
        self.units = tuple(shard.unit for shard in shards)
        self._touched = TouchedShards(folder, shards, remedy)
        opened = list(map(batch_of, self._touched.mapped))
        self.ids: pa.Array = pa.concat_arrays([part["id"] for part in opened])
        self.arrays = {
            name: StoredArray(name, self._touched, [as_numpy(part[name]) for part in opened])
            for name in opened[0].schema.names
            if name != "id"
        }

    @classmethod
    def open(cls, folder: Path, key: Mapping[str, Any] | None, *, made_by: str = "ppd prepare") -> Store:
        """Open the store in `folder` if it was made from exactly `key`; None takes it as it is.

        Checks sizes and shapes; a shard's bytes are compared when its rows are first read, or by `verify`.

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
        except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
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
            store = cls(folder, made_from, shards, remedy)
        except (ValueError, KeyError, IndexError, OSError, pa.ArrowException) as error:
            damaged = [fault for shard in shards if (fault := shard.damage(folder))]
            if damaged:
                raise UserError(f"{fault}; {remedy}" for fault in damaged) from error
            raise UserError(f"{folder}: damaged ({error}); delete it and {remedy}") from error
        if len(store) != count:
            raise UserError(f"{folder}: damaged ({len(store)} rows instead of {count}); delete it and {remedy}")
        return store

    def __len__(self) -> int:
        return len(self.ids)

    def index(self, ids: Sequence[str] | pa.Array | pa.ChunkedArray) -> np.ndarray:
        """The row of each id, (len(ids),) int64.

        Raises:
            UserError: an id has no row, or a shard is damaged.
        """
        wanted = ids if isinstance(ids, pa.Array | pa.ChunkedArray) else pa.array(ids, pa.string())
        rows = pc.index_in(wanted, value_set=self.ids)
        if rows.null_count:
            self.verify()  # an id may be damaged
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
        """Compare every byte; of files that are as this process has read them before their state is enough.

        Raises:
            UserError: shards differ from what was written; they are set aside, and what makes them again is named.
        """
        self._touched.require_all()

    def faults_since_finished(self) -> list[str]:
        """What is wrong with the shards that were written to since the store was finished, by their times of change.

        They are set aside. A sentence each, without an end.
        """
        finished = (self.folder / META).stat().st_mtime_ns
        shards = self._touched.shards
        changed = [shard for shard in shards if (self.folder / shard.file).stat().st_mtime_ns > finished]
        return [fault for shard in changed if (fault := shard.damage(self.folder))]


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
    faults = [f"{fault}; {again}" for shard in shards if (fault := shard.damage(folder))]
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


def write_store(
    folder: Path,
    ids: Sequence[str],
    arrays: Mapping[str, np.ndarray],
    key: Mapping[str, Any],
    finite: Collection[str] = (),
) -> None:
    """Write a whole store at once: ids (N,), arrays (N, ...); finite: as of `write_shard`."""
    write_shard(folder, "all", ids, arrays, key, finite)
    finish_store(folder, ["all"], key, key)


def _touched_again(folder: Path, notes: Sequence[dict[str, Any]], remedy: str) -> TouchedShards:
    return TouchedShards(folder, [Shard(note) for note in notes], remedy)


def _mapped_again(name: str, touched: TouchedShards) -> StoredArray:
    return StoredArray(name, touched, [as_numpy(batch_of(mapped)[name]) for mapped in touched.mapped])


def _sweep(folder: Path, shards: Sequence[Shard], key: Mapping[str, Any]) -> None:
    """Remove older versions and what killed processes have left; not what a note of this version names."""
    noted = [shard for unit in finished_units(folder, key) if (shard := read_note(folder, unit, key))]
    kept = {META} | {shard.file for shard in [*shards, *noted]}
    kept |= {note_path(folder, shard.unit, key).name for shard in shards}
    for pattern in (f"*{DAMAGED}", "*.arrow", "*.json", ".*.arrow", ".*.json"):
        for path in folder.glob(pattern):
            if path.name not in kept:
                path.unlink(missing_ok=True)
