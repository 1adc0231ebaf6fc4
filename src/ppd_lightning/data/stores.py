"""Stores: arrays with one row for each distinct thing, keyed by id, memory-mapped, and bound to what made them.

A folder holds one `.npy` file an array, the ids as parquet, and `meta.json`, which names those files and carries the
key. Files are never overwritten: a new version is written beside the old one and takes its place with `meta.json`, at
once.
"""

from __future__ import annotations

import json
import os
import uuid
from collections.abc import Iterable, Mapping, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from types import TracebackType
from typing import Any, BinaryIO

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from ppd_lightning.run.atomic import atomic_path, write_json_atomic
from ppd_lightning.run.errors import UserError
from ppd_lightning.run.fingerprints import file_sha256

META = "meta.json"


class Store:
    """An opened store.

    ids: N strings. arrays: each (N, ...), read-only, memory-mapped. key: what the store was made from.
    """

    def __init__(self, folder: Path, ids: pa.Array, arrays: dict[str, np.ndarray], meta: dict[str, Any]) -> None:
        self.folder, self.ids, self.arrays = folder, ids, arrays
        self.key: dict[str, Any] = meta["key"]
        self._meta = meta

    @classmethod
    def open(cls, folder: Path, key: Mapping[str, Any], *, made_by: str = "ppd prepare") -> Store:
        """Open the store in `folder` if it was made from exactly `key`.

        Checks sizes and shapes, not every byte: that is what `verify` does.

        Args:
            made_by: the command that makes such a store, for the messages.

        Raises:
            UserError: the store is missing, damaged, or made from something else.
        """
        remedy = f"run `{made_by}` with the same settings"
        try:
            meta = json.loads((folder / META).read_text(encoding="utf-8"))
            made_from = meta["key"]
            files = {name: folder / file["name"] for name, file in meta["files"].items()}
            sizes = {name: file["bytes"] for name, file in meta["files"].items()}
        except FileNotFoundError:
            raise UserError(f"{folder}: this store is missing; {remedy}") from None
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise UserError(f"{folder / META}: damaged ({error!r}); delete {folder} and {remedy}") from error
        key = json.loads(json.dumps(key))
        if made_from != key:
            differing = sorted(part for part in made_from.keys() | key.keys() if made_from.get(part) != key.get(part))
            told = "; ".join(f"{part} was {made_from.get(part)!r}, now {key.get(part)!r}" for part in differing)
            raise UserError(f"{folder}: this store is stale ({told}); {remedy}")
        for name, path in files.items():
            if not path.is_file() or path.stat().st_size != sizes[name]:
                found = f"{path.stat().st_size} bytes" if path.is_file() else "no file"
                raise UserError(
                    f"{path}: damaged (expected {sizes[name]} bytes, found {found}); delete {folder} and {remedy}"
                )
        try:
            ids = pq.read_table(files.pop("ids"), columns=["id"]).column("id").combine_chunks()
            arrays = {name: np.load(path, mmap_mode="r", allow_pickle=False) for name, path in files.items()}
        except (ValueError, KeyError, OSError, pa.ArrowException) as error:
            raise UserError(f"{folder}: damaged ({error}); delete it and {remedy}") from error
        lengths = {"ids": len(ids)} | {name: len(array) for name, array in arrays.items()}
        if len(set(lengths.values())) != 1:
            raise UserError(f"{folder}: damaged (different lengths: {lengths}); delete it and {remedy}")
        return cls(folder, ids, arrays, meta)

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
            UserError: a file differs from what was written.
        """
        faults = []
        for file in self._meta["files"].values():
            path = self.folder / file["name"]
            if file_sha256(path) != file["sha256"]:
                faults.append(f"{path}: damaged (its checksum differs); delete {self.folder} and make it again")
        if faults:
            raise UserError(faults)


class StoreWriter(AbstractContextManager["StoreWriter"]):
    """Writes a store batch by batch, in bounded memory; leaving the block without an error puts it in place.

        with StoreWriter(folder, key) as writer:
            writer.add(ids, {"latents": latents})

    The key can also be set while the block goes on, as `writer.key`, where it is known only then. Every batch brings
    the same arrays with the same row shapes and types. Until the block ends, an older store in `folder` stays readable.
    """

    def __init__(self, folder: Path, key: Mapping[str, Any] | None = None) -> None:
        self.folder = folder
        self.key: dict[str, Any] = dict(key or {})
        self.ids: list[str] = []
        self._arrays: dict[str, _ArrayFile] = {}
        self._version = uuid.uuid4().hex[:8]
        folder.mkdir(parents=True, exist_ok=True)

    def add(self, ids: Sequence[str], arrays: Mapping[str, np.ndarray]) -> None:
        """Append rows: arrays (len(ids), ...)."""
        if not self.ids:
            self._arrays = {
                name: _ArrayFile(self.folder / f"{name}-{self._version}.npy", array) for name, array in arrays.items()
            }
        if arrays.keys() != self._arrays.keys():
            raise ValueError(f"expected the arrays {list(self._arrays)}, got {list(arrays)}")
        for name, array in arrays.items():
            if len(array) != len(ids):
                raise ValueError(f"{name}: {len(array)} rows for {len(ids)} ids")
            self._arrays[name].append(array)
        self.ids += ids

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        done = False
        try:
            if kind is None:
                self._finish()
                done = True
        finally:
            for array in self._arrays.values():
                array.file.close()
                if not done:
                    array.path.unlink(missing_ok=True)

    def _finish(self) -> None:
        if not self.ids:
            raise ValueError(f"{self.folder}: nothing to store")
        if len(set(self.ids)) != len(self.ids):
            raise ValueError(f"{self.folder}: an id comes twice")
        files = {name: array.finish() for name, array in self._arrays.items()}
        listed = self.folder / f"ids-{self._version}.parquet"
        with atomic_path(listed) as temporary:
            pq.write_table(pa.table({"id": pa.array(self.ids, pa.string())}), temporary)
        files["ids"] = {"name": listed.name, "bytes": listed.stat().st_size, "sha256": file_sha256(listed)}
        old = _named_files(self.folder)
        write_json_atomic(self.folder / META, {"key": self.key, "count": len(self.ids), "files": files})
        for path in old:
            path.unlink(missing_ok=True)


def write_store(
    folder: Path,
    ids: Sequence[str],
    arrays: Mapping[str, np.ndarray | Iterable[np.ndarray]],
    key: Mapping[str, Any],
) -> None:
    """Write a whole store: each array (N, ...), or batches that make it up one after the other."""
    streams = {name: iter([array] if isinstance(array, np.ndarray) else array) for name, array in arrays.items()}
    with StoreWriter(folder, key) as writer:
        while len(writer.ids) < len(ids):
            batch = {name: next(stream) for name, stream in streams.items()}
            begin = len(writer.ids)
            writer.add(list(ids[begin : begin + len(next(iter(batch.values())))]), batch)


class _ArrayFile:
    """An `.npy` file that grows; numpy leaves room in its header for the first dimension."""

    def __init__(self, path: Path, like: np.ndarray) -> None:
        if like.dtype.hasobject:
            raise ValueError(f"{path.name}: objects cannot be memory-mapped")
        self.path, self.shape, self.dtype = path, like.shape[1:], like.dtype
        self.count = 0
        self.file: BinaryIO = path.open("w+b")
        self._header()
        self.data_at = self.file.tell()

    def append(self, array: np.ndarray) -> None:
        if array.shape[1:] != self.shape or array.dtype != self.dtype:
            raise ValueError(
                f"{self.path.name}: expected rows of {self.shape} {self.dtype}, got {array.shape[1:]} {array.dtype}"
            )
        self.file.write(np.ascontiguousarray(array).tobytes())
        self.count += len(array)

    def finish(self) -> dict[str, Any]:
        self.file.seek(0)
        self._header()
        if self.file.tell() != self.data_at:
            raise ValueError(f"{self.path.name}: the header outgrew its place")
        self.file.flush()
        os.fsync(self.file.fileno())
        return {"name": self.path.name, "bytes": self.path.stat().st_size, "sha256": file_sha256(self.path)}

    def _header(self) -> None:
        header = {"descr": np.lib.format.dtype_to_descr(self.dtype), "fortran_order": False}
        np.lib.format.write_array_header_1_0(self.file, {**header, "shape": (self.count, *self.shape)})


def _named_files(folder: Path) -> list[Path]:
    """The files of the version that is in place."""
    try:
        meta = json.loads((folder / META).read_text(encoding="utf-8"))
        return [folder / Path(file["name"]).name for file in meta["files"].values()]
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return []
