"""Shards: units of rows of arrays with their ids, each an Arrow file, written by any number of processes.

A shard's schema carries its key, its name its checksum, and a note beside it says which shard is whose unit; no shard
is overwritten by another one. So a killed run goes on with the units that have no note, and a unit that two processes
made at once is no conflict. `stores` makes a whole of them.

n = rows of a shard.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
import re
from collections.abc import Collection, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from ppd_lightning.errors import UserError
from ppd_lightning.storage.atomic import atomic_path, write_json_atomic
from ppd_lightning.storage.checksums import known_sha256
from ppd_lightning.storage.fingerprints import file_sha256, fingerprint

log = logging.getLogger(__name__)

KEY = b"ppd_lightning.key"
DAMAGED = ".damaged"
"""The end of the name of a shard that was set aside; it goes when the store is finished again."""


def write_shard(
    folder: Path,
    unit: str,
    ids: Sequence[str],
    arrays: Mapping[str, np.ndarray],
    key: Mapping[str, Any],
    finite: Collection[str] = (),
) -> None:
    """Write one unit of a store; it is there whole or not at all, whenever the process is killed.

    Args:
        unit: its name: letters, digits, _ and -.
        ids: n strings, distinct; none where nothing of the unit could be used.
        arrays: each (n, ...), of integers or floats; the same names, row shapes and types in every unit.
        key: what the numbers depend on.
        finite: the arrays in which no NaN or infinity may be.

    Raises:
        UserError: there is one; its row is named.
        ValueError: ids or arrays are not so.
    """
    for array in finite:
        require_finite(f"{folder}: {array}", ids, arrays[array])
    if not re.fullmatch(r"[A-Za-z0-9_-]+", unit):
        raise ValueError(f"{unit!r} is no name of a unit: letters, digits, _ and - only")
    batch = _record_batch(ids, arrays, key)
    checksum, size = "", 0

    def name(temporary: Path) -> str:
        nonlocal checksum, size
        checksum, size = file_sha256(temporary), temporary.stat().st_size
        return f"{unit}.{checksum[:12]}.arrow"

    try:
        with (
            atomic_path(folder / f"{unit}.arrow", named=name) as temporary,
            temporary.open("wb") as file,
            pa.ipc.new_file(file, batch.schema) as writer,
        ):
            writer.write_batch(batch)
        note = {"unit": unit, "file": f"{unit}.{checksum[:12]}.arrow", "rows": len(batch), "bytes": size}
        write_json_atomic(note_path(folder, unit, key), note | {"sha256": checksum})
    except FileNotFoundError:
        # Another process made this unit too, finished the store and swept it.
        if read_note(folder, unit, key) is None:
            raise


def require_finite(what: str, ids: Sequence[str], rows: np.ndarray) -> None:
    """Refuse rows (n, ...) that hold NaN or infinity.

    Raises:
        UserError: one does; `what` and its id begin the message.
    """
    sound = np.isfinite(rows.reshape(len(rows), -1)).all(1) if len(rows) else np.ones(0, bool)
    if not sound.all():
        broken = [ids[row] for row in np.flatnonzero(~sound)[:3]]
        raise UserError(
            f"{what}: NaN or infinity in {int((~sound).sum())} rows, such as that of {', '.join(map(str, broken))}; "
            "look at what these were made from, and at the weights and the precision of what made them"
        )


def finished_units(folder: Path, key: Mapping[str, Any]) -> set[str]:
    """The units that `write_shard` has written to `folder` with this key, and that are as it left them.

    Every byte of them is compared once a process; what differs is set aside and named in the log.
    """
    end = note_path(folder, "", key).name
    units = [path.name.removesuffix(end) for path in folder.glob(f"*{end}") if not path.name.startswith(".")]
    notes = {unit: note for unit in units if (note := read_note(folder, unit, key)) is not None}
    faults = {unit: note.damage(folder) for unit, note in notes.items()}
    for fault in filter(None, faults.values()):
        log.warning("%s; it is made again", fault)
    return {unit for unit, fault in faults.items() if fault is None}


def noted_shards(folder: Path) -> list[Shard]:
    """The shards of every note in a folder, whatever their key is."""
    found = []
    for path in sorted(folder.glob("[!.]*.json")):
        with suppress(OSError, ValueError, KeyError, TypeError, RecursionError):
            found.append(Shard(json.loads(path.read_text(encoding="utf-8"))))
    return found


def is_finished(folder: Path, unit: str, key: Mapping[str, Any]) -> bool:
    """Whether `write_shard` has written this unit to `folder` with this key."""
    return read_note(folder, unit, key) is not None


def read_shard(folder: Path, unit: str, key: Mapping[str, Any]) -> tuple[pa.Array, dict[str, np.ndarray]]:
    """The ids and memory-mapped arrays of one unit that `write_shard` wrote with this key, finished store or not.

    Every byte is compared with the checksum.

    Raises:
        UserError: the unit is missing or damaged.
    """
    shard = read_note(folder, unit, key)
    if shard is None:
        raise UserError(f"{folder}: the part {unit} is not written yet; run the same command again")
    shard.require(folder, "run the same command again")
    try:
        batch = map_shard(folder / shard.file)
    except (OSError, ValueError, KeyError, pa.ArrowException) as error:
        message = f"{folder / shard.file}: damaged ({error}); delete it and run the same command again"
        raise UserError(message) from error
    return batch["id"], {name: as_numpy(batch[name]) for name in batch.schema.names if name != "id"}


class Shard:
    """What a note says of a shard.

    Raises:
        KeyError, TypeError, ValueError: it is no note.
    """

    def __init__(self, note: dict[str, Any]) -> None:
        self.note = note
        self.unit, self.file, self.sha256 = str(note["unit"]), Path(str(note["file"])).name, str(note["sha256"])
        self.bytes = int(note["bytes"])

    def wrong_size(self, folder: Path) -> str | None:
        """What is wrong with the size of its file, if anything is."""
        path = folder / self.file
        found = path.stat().st_size if path.is_file() else None
        if found == self.bytes:
            return None
        size = "no file" if found is None else f"{found} bytes"
        return f"{path}: damaged (expected {self.bytes} bytes, found {size})"

    def damage(self, folder: Path) -> str | None:
        """What is wrong with its file, if anything is; every byte is read, once a process for as long as it stays.

        A file that differs is set aside, so that whoever made it makes it again and nothing else.
        """
        fault = self.wrong_size(folder)
        if fault is not None:
            return fault
        path = folder / self.file
        try:
            if known_sha256(path) == self.sha256:
                return None
        except OSError as error:
            return f"{path}: cannot be read ({error.strerror or error})"
        with suppress(OSError):  # in a folder that only others may write to
            os.replace(path, path.with_name(path.name + DAMAGED))
        return f"{path}: damaged (its checksum differs)"

    def require(self, folder: Path, remedy: str, mapped: pa.Buffer | None = None) -> None:
        """Refuse a file that differs from what was written.

        Args:
            remedy: what makes it again, in words.
            mapped: its bytes, which are compared where it is gone.

        Raises:
            UserError: it does.
        """
        if mapped is not None and not (folder / self.file).exists() and _sha256(mapped) == self.sha256:
            return
        if (fault := self.damage(folder)) is not None:
            kept = "delete it and " if (folder / self.file).exists() else ""
            raise UserError(f"{fault}; {kept}{remedy}")


def note_path(folder: Path, unit: str, key: Mapping[str, Any]) -> Path:
    """Where the note lies that says which shard is this unit."""
    return folder / f"{unit}.{fingerprint(as_read(key))}.json"


def read_note(folder: Path, unit: str, key: Mapping[str, Any]) -> Shard | None:
    """The shard that is this unit, if it is there and has its size."""
    try:
        shard = Shard(json.loads(note_path(folder, unit, key).read_text(encoding="utf-8")))
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return None
    return shard if shard.unit == unit and shard.wrong_size(folder) is None else None


def as_read(key: Mapping[str, Any]) -> dict[str, Any]:
    """The key as JSON gives it back."""
    read: dict[str, Any] = json.loads(json.dumps(dict(key)))
    return read


def _sha256(data: pa.Buffer) -> str:
    return hashlib.sha256(data).hexdigest()


def _record_batch(ids: Sequence[str], arrays: Mapping[str, np.ndarray], key: Mapping[str, Any]) -> pa.RecordBatch:
    columns: dict[str, pa.Array] = {"id": pa.array(ids, pa.string())}
    if columns["id"].null_count or len(pc.unique(columns["id"])) != len(ids):
        raise ValueError("an id is None or comes twice")
    for name, array in arrays.items():
        if name == "id":
            raise ValueError("no array may have the name id")
        if len(array) != len(ids):
            raise ValueError(f"{name}: {len(array)} rows for {len(ids)} ids")
        if array.dtype.kind not in "iuf" or array.itemsize > 8 or not array.dtype.isnative or 0 in array.shape[1:]:
            raise ValueError(
                f"{name}: expected integers or floats, at least one a row, got {array.shape} {array.dtype}"
            )
        columns[name] = _as_column(np.ascontiguousarray(array))
    batch = pa.RecordBatch.from_pydict(columns)
    return batch.replace_schema_metadata({KEY: json.dumps(as_read(key), sort_keys=True)})


def _as_column(array: np.ndarray) -> pa.Array:
    if array.ndim == 1:
        return pa.array(array)
    if not len(array):  # pyarrow makes no tensors of nothing
        return pa.FixedShapeTensorArray.from_numpy_ndarray(np.zeros((1, *array.shape[1:]), array.dtype))[:0]
    return pa.FixedShapeTensorArray.from_numpy_ndarray(array)


def map_shard(path: Path) -> pa.RecordBatch:
    """A shard's columns, memory-mapped."""
    return batch_of(map_file(path))


def map_file(path: Path) -> pa.Buffer:
    """A file's bytes, memory-mapped; the file is closed, so that stores of thousands of shards can be open."""
    with pa.memory_map(str(path)) as file:
        return file.read_buffer()


def batch_of(shard: pa.Buffer) -> pa.RecordBatch:
    """A shard's columns, in the memory of its bytes."""
    batch = pa.ipc.open_file(shard).get_batch(0)
    batch.validate()
    batch["id"].validate(full=True)
    return batch


def as_numpy(column: pa.Array) -> np.ndarray:
    """A view of a column, (n, ...)."""
    tensors = isinstance(column, pa.FixedShapeTensorArray)
    array: np.ndarray = column.to_numpy_ndarray() if tensors else column.to_numpy(zero_copy_only=True)
    return array
