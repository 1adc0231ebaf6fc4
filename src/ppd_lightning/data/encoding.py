"""One pass over a source's images, into stores.

The images are cut into units (`images.image_units`). A process goes through the units that are
missing, in an order of its own, and leaves out what others have finished meanwhile; so any number of processes share
the work without knowing of each other, and one that was killed goes on where it was. Images are decoded in worker
processes (`workers`) and encoded here. A batch never holds images of two units, so a unit comes out the same
whoever makes it, on hardware of one kind.

B = images in a batch, H, W = height and width.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from PIL import Image
from torch.utils.data import IterableDataset, get_worker_info

from ppd_lightning.data.images import (
    Preprocess,
    ids_fingerprint,
    image_units,
    images_fingerprint,
    index_images,
    read_images,
    why_unusable,
)
from ppd_lightning.data.loading import Loader, workers_may_die
from ppd_lightning.data.pictures import Square
from ppd_lightning.data.prepared import PreparedData
from ppd_lightning.data.shards import finished_units, is_finished, read_shard, write_shard
from ppd_lightning.data.stores import Store, finish_store
from ppd_lightning.data.tables import table_key, write_table
from ppd_lightning.errors import MachineError, UserError
from ppd_lightning.progress import Counted
from ppd_lightning.storage.fingerprints import fingerprint

Encode = Callable[[np.ndarray, Sequence[str]], np.ndarray]
"""Pixels (B, 3, H, W), as the encoder's preprocess gives them, and their B image ids to an array (B, ...)."""


@dataclass(frozen=True)
class ImageEncoder:
    """What computes one store of images.

    store: the store's folder below the data folder. key: what the numbers depend on, beside the images. load: gives the
    function that computes the array; called if there is work. preprocess: what it sees of a picture, computed where the
    picture is decoded; None is the square of the data's image size. array: the array's name, if not the store's.
    finite: whether no NaN or infinity may be in it.
    """

    store: str
    key: Mapping[str, Any]
    load: Callable[[], Encode]
    preprocess: Preprocess | None = None
    array: str | None = None
    finite: bool = False

    @property
    def array_name(self) -> str:
        """The name of its array in the store."""
        return self.array or self.store


def encode_images(
    data: PreparedData,
    rows: pa.Table,
    source: str,
    encoders: Sequence[ImageEncoder],
    *,
    workers: int = 0,
    progress: bool = True,
) -> pa.Table:
    """Decode every image once, for all encoders together, and write their stores and the table of images.

    Nothing is done where all of them are there and were made from the same. Every store also has the array `digest`
    (N, 32) uint8, the SHA-256 of each image's bytes.

    Args:
        rows: `pickapic_rows.Rows.table`.
        source: the source's fingerprint.
        workers: processes that decode images; 0 is this one.
        progress: whether a terminal gets a progress bar.

    Returns:
        the usable images (`images.IMAGES_SCHEMA`).

    Raises:
        UserError: a file of the source is damaged, or no image can be decoded.
    """
    if _encoded(data, source, encoders):
        return data.images_table()
    index, size = index_images(rows), data.image_size
    units = image_units(index)
    plan = fingerprint([ids_fingerprint(index["image_id"]), list(units.values())])
    shards = [
        _Shards(
            data.folder / encoder.store, {"source": source, "plan": plan, "size": size, **encoder.key}, encoder.finite
        )
        for encoder in encoders
    ]
    _encode_units(data, "images", index, units, encoders, shards, workers, progress)
    parts = [read_shard(shards[0].folder, unit, shards[0].key) for unit in units]
    ids = pa.concat_arrays([own for own, _ in parts])
    if not len(ids):
        first = "; ".join(f"{image} {why}" for image, why in why_unusable(data.source.root, index.slice(0, 1)).items())
        raise UserError(f"{data.source.root}: none of its {len(index)} images can be decoded; {first}")
    images = images_fingerprint(ids, np.concatenate([arrays["digest"] for _, arrays in parts]), size)
    for encoder, own_shards in zip(encoders, shards, strict=True):
        finish_store(own_shards.folder, list(units), {"images": images, **encoder.key}, own_shards.key)
    usable = index.filter(pc.is_in(index["image_id"], value_set=ids))
    write_table(data.images_path, usable, {"source": source, "images": images})
    return usable


def encode_usable(
    data: PreparedData, what: str, encoders: Sequence[ImageEncoder], *, workers: int = 0, progress: bool = True
) -> None:
    """As `encode_images`, of the images that are known to be usable; only for the encoders whose stores are missing.

    An image that a preprocess refuses has no row in the stores that are made here.

    Args:
        what: is counted, in words.
        workers, progress: as for `encode_images`.

    Raises:
        UserError: the data are not prepared, or a file of the source is damaged.
    """
    missing = [encoder for encoder in encoders if not _is_stored(data, encoder)]
    if not missing:
        return
    index, images = data.images_table(), data.images_key()
    units = image_units(index)
    plan = fingerprint([ids_fingerprint(index["image_id"]), list(units.values())])
    shards = [
        _Shards(data.folder / encoder.store, {"images": images, "plan": plan, **encoder.key}, encoder.finite)
        for encoder in missing
    ]
    _encode_units(data, what, index, units, missing, shards, workers, progress)
    for encoder, own in zip(missing, shards, strict=True):
        finish_store(own.folder, list(units), {"images": images, **encoder.key}, own.key)


def open_encoded(data: PreparedData, encoder: ImageEncoder, *, made_by: str = "ppd prepare") -> Store:
    """The store that `encode_images` or `encode_usable` wrote with this encoder.

    Args:
        made_by: the command that makes such a store, for the messages.

    Raises:
        UserError: it is missing, damaged or stale.
    """
    key = {"images": data.images_key(), **encoder.key}
    return Store.open(data.folder / encoder.store, key, made_by=made_by)


@dataclass(frozen=True)
class _Shards:
    """Where the units of one store are, finished or not.

    key: what their numbers depend on. finite: whether no NaN or infinity may be in them.
    """

    folder: Path
    key: dict[str, Any]
    finite: bool

    def have(self, unit: str) -> bool:
        """Whether the unit is there, whoever made it."""
        return is_finished(self.folder, unit, self.key)


@dataclass(frozen=True)
class _Batch:
    """What is decoded of a unit at once, or only that the unit ends here, or what stops the command.

    ids: B image ids. digests: of their bytes. pixels: for each view, (B, 3, H, W). passed: how many images of the plan
    are done with it, damaged ones too.
    """

    unit: str
    ids: list[str] = field(default_factory=list)
    digests: list[bytes] = field(default_factory=list)
    pixels: tuple[np.ndarray, ...] = ()
    passed: int = 0
    ends: bool = False
    faults: tuple[str, ...] = ()


class _Decoding(IterableDataset[_Batch]):
    """The images of some units, one unit after the other; every worker takes its share of the units."""

    def __init__(
        self,
        root: str,
        images: pa.Table,
        views: Sequence[Preprocess],
        units: Mapping[str, tuple[int, int]],
        shards: Sequence[_Shards],
    ) -> None:
        self.root, self.views, self.units, self.shards = root, views, units, shards
        self.images = images.select(["image_id", "file", "row_group", "row", "side"])

    def __iter__(self) -> Iterator[_Batch]:
        worker = get_worker_info()
        first, every = (worker.id, worker.num_workers) if worker is not None else (0, 1)
        for unit in list(self.units)[first::every]:
            try:
                yield from self._unit(unit)
            except UserError as error:  # a loader would hand it on as text, with its trace
                yield _Batch(unit, faults=tuple(error.faults))

    def _unit(self, unit: str) -> Iterator[_Batch]:
        begin, end = self.units[unit]
        if all(own.have(unit) for own in self.shards):
            yield _Batch(unit, passed=end - begin)
            return
        for batch in read_images(self.root, self.images.slice(begin, end - begin), self.views):
            passed = len(batch.ids) + len(batch.damaged)
            yield _Batch(unit, batch.ids, batch.digests, batch.pixels, passed)
        yield _Batch(unit, ends=True)


class _UnitWriter:
    """Encodes the batches of one unit and writes it.

    Args:
        planned: images of the unit, damaged ones too.
        work: of each store: which view it is made of, its array's name, its function, and its shards.
    """

    def __init__(self, unit: str, planned: int, work: Sequence[tuple[int, str, Encode, _Shards]]) -> None:
        self.unit, self.planned, self.passed = unit, planned, 0
        self.work = [one for one in work if not one[3].have(unit)]
        self.ids: list[str] = []
        self.digests: list[bytes] = []
        self.parts: list[list[np.ndarray]] = [[] for _ in self.work]

    def add(self, batch: _Batch) -> None:
        self.passed += batch.passed
        if not batch.ids:
            return
        self.ids += batch.ids
        self.digests += batch.digests
        for parts, (view, _, encode, _) in zip(self.parts, self.work, strict=True):
            parts.append(encode(batch.pixels[view], batch.ids))

    def write(self, views: Sequence[Preprocess]) -> None:
        """Write the unit to the stores that lack it.

        Raises:
            MachineError: not all of its images have come; nothing is written.
        """
        if self.passed != self.planned:
            raise MachineError(
                f"of {self.planned} images of the part {self.unit} {self.passed} came, the others were lost on the way "
                "from the process that decodes them; nothing of the part was written: run the same command again, with "
                "data.workers=0 if it happens again"
            )
        digests = np.frombuffer(b"".join(self.digests), np.uint8).reshape(-1, 32)
        for parts, (view, name, encode, shards) in zip(self.parts, self.work, strict=True):
            if not self.ids:  # the shape is that of an image, although there is none
                parts.append(encode(np.stack([views[view](Image.new("RGB", (64, 64)))]), [""])[:0])
            arrays = {name: np.concatenate(parts), "digest": digests}
            write_shard(shards.folder, self.unit, self.ids, arrays, shards.key, [name] if shards.finite else [])


def _encode_units(
    data: PreparedData,
    what: str,
    index: pa.Table,
    units: Mapping[str, tuple[int, int]],
    encoders: Sequence[ImageEncoder],
    shards: Sequence[_Shards],
    workers: int,
    progress: bool,
) -> None:
    """Write the missing units of the stores of images; encoders that see the same share it."""
    lacking = [units.keys() - finished_units(own.folder, own.key) for own in shards]
    missing = {unit: units[unit] for unit in in_own_order(set().union(*lacking))}
    if not missing:
        return
    needed = [encoder.preprocess or Square(data.image_size) for encoder in encoders]
    views = [view for place, view in enumerate(needed) if view not in needed[:place]]
    decoding = _Decoding(data.source.root, index, views, missing, shards)
    workers = min(workers, len(missing))
    with workers_may_die("data.workers", workers):
        # The workers are started before the networks are there, so that they do not carry their memory along.
        batches = iter(Loader(decoding, workers, "data.workers", in_order=False))
        try:
            work = [
                (views.index(view), encoder.array_name, encoder.load(), own)
                for encoder, view, own, absent in zip(encoders, needed, shards, lacking, strict=True)
                if absent
            ]
            begun: dict[str, _UnitWriter] = {}
            done = len(index) - sum(end - begin for begin, end in missing.values())
            with Counted(what, len(index), done=done, bar=progress) as counted:
                for batch in batches:
                    if batch.faults:
                        raise UserError(batch.faults)
                    if batch.pixels or batch.ends:
                        if batch.unit not in begun:
                            begin, end = missing[batch.unit]
                            begun[batch.unit] = _UnitWriter(batch.unit, end - begin, work)
                        begun[batch.unit].add(batch)
                    if batch.ends:
                        begun.pop(batch.unit).write(views)
                    counted.add(batch.passed)
            for unfinished in begun.values():
                unfinished.write(views)
        finally:
            del batches  # ends the workers now, not when an error is forgotten


def in_own_order(units: Iterable[str]) -> list[str]:
    """Units in an order that no other process has, so that few of them are made twice."""
    ordered = sorted(units)
    return random.Random().sample(ordered, len(ordered))  # what comes out does not depend on it


def _encoded(data: PreparedData, source: str, encoders: Sequence[ImageEncoder]) -> bool:
    try:
        if table_key(data.images_path).get("source") != source:
            return False
        data.images_table()
    except UserError:
        return False  # missing, damaged or stale: made anew
    return all(_is_stored(data, encoder) for encoder in encoders)


def _is_stored(data: PreparedData, encoder: ImageEncoder) -> bool:
    try:
        open_encoded(data, encoder)
    except UserError:
        return False  # missing, damaged or stale: made anew
    return True
