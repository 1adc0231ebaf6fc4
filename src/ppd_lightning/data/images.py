"""The images of a source: where each distinct one lies, and decoding it once.

B = batch, H, W = height and width.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from PIL import Image

from ppd_lightning.data.pickapic import open_parquet, stream_group
from ppd_lightning.data.pictures import NoPictureError, open_marked
from ppd_lightning.errors import UserError
from ppd_lightning.storage.fingerprints import fingerprint

IMAGES_SCHEMA = pa.schema(
    {
        "image_id": pa.string(),
        "caption": pa.string(),
        "model": pa.string(),
        "file": pa.string(),
        "row_group": pa.int64(),
        "row": pa.int64(),
        "side": pa.int64(),
    }
)
"""One row an image: what it was drawn for and by, and where its bytes are; side 0 is jpg_0, 1 is jpg_1."""

ORDER = [(name, "ascending") for name in ("file", "row_group", "row", "side")]
"""The order of the files."""

UNIT = 1024
"""Images that are prepared together, at least; a unit is made of whole row groups, so that each is read once."""

LARGEST_UNIT = 4 * UNIT
"""Row groups with more images are cut into such pieces, although each of these reads it from its beginning."""

BATCH, BATCH_BYTES = 64, 32 << 20
"""A batch ends at so many images or bytes of pixels."""

MARK = b"pictures 2:"
"""Stands before the bytes of images that earlier versions decoded to other pixels."""

Preprocess = Callable[[Image.Image], np.ndarray]
"""A decoded picture of any size and mode to (3, H, W) RGB in [0, 255], uint8 or float32, always of one size and type.

Raises:
    UserError: the picture cannot be brought to it; it is counted as damaged.
"""


@dataclass(frozen=True)
class DecodedImages:
    """A batch of images.

    ids: B image ids. digests: SHA-256 of each image's bytes; of one that earlier versions decoded to other pixels (see
    `pictures.open_marked`), of a mark and its bytes, so that what was made of those is stale. pixels: for each
    preprocess, (B, 3, H, W) RGB.
    damaged: further ids.
    """

    ids: list[str]
    digests: list[bytes]
    pixels: tuple[np.ndarray, ...]
    damaged: list[str]


def index_images(rows: pa.Table) -> pa.Table:
    """Every distinct image of a source's usable rows, where it comes first in the order of the files, in that order."""
    order = pc.sort_indices(rows.select(["file", "row_group", "row"]), ORDER[:-1])
    if not np.array_equal(order, np.arange(len(rows))):
        rows = rows.take(order)
    both = pa.chunked_array([*rows["image_0"].chunks, *rows["image_1"].chunks], pa.string())
    codes = np.asarray(both.combine_chunks().dictionary_encode().indices)  # (2 rows,)
    _, first = np.unique(codes.reshape(2, -1).T.ravel(), return_index=True)
    row, side = np.divmod(np.sort(first), 2)
    first_rows, is_first = rows.take(pa.array(row)), pa.array(side == 0)
    columns = {
        "image_id": pc.if_else(is_first, first_rows["image_0"], first_rows["image_1"]),
        "caption": first_rows["caption"],
        "model": pc.if_else(is_first, first_rows["model_0"], first_rows["model_1"]),
        **{name: first_rows[name] for name in ("file", "row_group", "row")},
        "side": pa.array(side),
    }
    return pa.table(columns).cast(IMAGES_SCHEMA)


def image_units(images: pa.Table) -> dict[str, tuple[int, int]]:
    """Where each unit of images begins and ends in `images` (`index_images`), by its name, in that order.

    Only the images and their places decide, so every process comes to the same units.
    """
    ends = [0]
    begins = _group_begins(images).tolist()
    for begin, end in zip(begins, [*begins[1:], len(images)], strict=True):
        if end - ends[-1] > LARGEST_UNIT and begin > ends[-1]:
            ends.append(begin)
        while end - ends[-1] > LARGEST_UNIT:
            ends.append(ends[-1] + LARGEST_UNIT)
        if end - ends[-1] >= UNIT or end == len(images):
            ends.append(end)
    return {f"{number:06}": (ends[number], ends[number + 1]) for number in range(len(ends) - 1)}


def read_images(
    root: str | Path, images: pa.Table, views: Sequence[Preprocess], batch_size: int = BATCH
) -> Iterator[DecodedImages]:
    """Decode every image once, for all views of it, in the order of the files.

    Never more than a batch is held in memory, and of a row group the pages that are being read.

    Args:
        root: of the source's parquet files.
        images: rows of `IMAGES_SCHEMA`, in any order; image_id, file, row_group, row and side are enough.
        views: what each image is brought to.
        batch_size: images of a batch; fewer where they would take much memory.

    Raises:
        UserError: a file or a row group is damaged. A damaged image is only listed.
    """
    batch = _Batch(views, batch_size)
    for image_id, data in stored_images(root, images):
        try:
            picture, plain = open_marked(data)
            seen = [view(picture) for view in views]
        except UserError:
            batch.damaged.append(image_id)
            continue
        if batch.add(image_id, hashlib.sha256((b"" if plain else MARK) + (data or b"")).digest(), seen):
            yield batch.decoded()
            batch = _Batch(views, batch_size)
    if batch.ids or batch.damaged:
        yield batch.decoded()


def stored_images(root: str | Path, images: pa.Table) -> Iterator[tuple[str, bytes | None]]:
    """The ids of images and their bytes as they are stored, in the order of the files, reading each row group once.

    Args:
        root, images: as for `read_images`.

    Raises:
        UserError: a file or a row group is damaged.
    """
    images = images.sort_by(ORDER)
    begins = _group_begins(images).tolist()
    file, opened = None, None
    for begin, end in zip(begins, [*begins[1:], len(images)], strict=True):
        wanted = images.slice(begin, end - begin)
        name, group = wanted["file"][0].as_py(), wanted["row_group"][0].as_py()
        if file is None or opened != name:
            file, opened = open_parquet(root, name, ("jpg_0", "jpg_1"), streamed=True), name
        ids, rows, sides = (wanted[column].to_pylist() for column in ("image_id", "row", "side"))
        stored = stream_group(file, f"{root}/{name}", group, ("jpg_0", "jpg_1"), rows)
        for image_id, side, jpegs in zip(ids, sides, stored, strict=True):
            yield image_id, jpegs[side].as_py()


def decode(data: bytes | None, views: Sequence[Preprocess]) -> list[np.ndarray] | None:
    """A compressed image, each view of it (3, H, W) RGB. None if it is damaged."""
    try:
        picture, _ = open_marked(data)
        return [view(picture) for view in views]
    except UserError:
        return None


def why_unusable(root: str | Path, images: pa.Table) -> dict[str, str]:
    """What is wrong with those of these images that are no pictures, by their ids; see `read_images`."""
    found = {}
    for image_id, data in stored_images(root, images):
        try:
            open_marked(data)
        except NoPictureError as error:
            found[image_id] = str(error)
    return found


class _Batch:
    """What is decoded so far."""

    def __init__(self, views: Sequence[Preprocess], most: int) -> None:
        self.views, self.most = views, most
        self.ids: list[str] = []
        self.digests: list[bytes] = []
        self.damaged: list[str] = []
        self.pixels: list[np.ndarray] = []

    def add(self, image_id: str, digest: bytes, seen: Sequence[np.ndarray]) -> bool:
        """Take an image in, and say whether the batch is full."""
        if not self.pixels:
            self.most = max(1, min(self.most, BATCH_BYTES // sum(view.nbytes for view in seen)))
            # As pictures lie in memory, H x W x 3; what is given is a view.
            self.pixels = [np.empty((self.most, *view.shape[1:], 3), view.dtype) for view in seen]
        for pixels, view in zip(self.pixels, seen, strict=True):
            pixels[len(self.ids)] = view.transpose(1, 2, 0)
        self.ids.append(image_id)
        self.digests.append(digest)
        return len(self.ids) == self.most

    def decoded(self) -> DecodedImages:
        pixels = self.pixels or [np.empty((0, 1, 1, 3), np.uint8) for _ in self.views]
        seen = tuple(part[: len(self.ids)].transpose(0, 3, 1, 2) for part in pixels)
        return DecodedImages(self.ids, self.digests, seen, self.damaged)


def images_fingerprint(ids: pa.Array, digests: np.ndarray, size: int) -> str:
    """12 hex digits of the images' ids and bytes and of the size at which they are seen; their order does not count.

    Args:
        ids: N strings.
        digests: (N, 32) uint8, SHA-256 of each image's bytes.
    """
    order = pc.sort_indices(ids)
    whole = hashlib.sha256(digests[order.to_numpy()].tobytes())
    return fingerprint([size, whole.hexdigest(), ids_fingerprint(ids.take(order))])


def ids_fingerprint(ids: pa.Array | pa.ChunkedArray) -> str:
    """64 hex digits of strings in their order, without holding them all as objects."""
    whole = hashlib.sha256()
    for begin in range(0, len(ids), 1 << 16):
        whole.update(json.dumps(ids.slice(begin, 1 << 16).to_pylist()).encode())
    return whole.hexdigest()


def _group_begins(images: pa.Table) -> np.ndarray:
    """Where each row group begins in a table in the order of the files."""
    files = np.asarray(images["file"].combine_chunks().dictionary_encode().indices)
    groups = np.asarray(images["row_group"])
    begins = np.flatnonzero((np.diff(files) != 0) | (np.diff(groups) != 0)) + 1
    return np.concatenate([[0], begins])
