"""The images of a source: where each distinct one lies, and decoding it once.

B = batch, H, W = height and width.
"""

from __future__ import annotations

import hashlib
import io
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from PIL import Image

from ppd_lightning.data.pickapic import open_parquet, read_group
from ppd_lightning.run.fingerprints import fingerprint

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


@dataclass(frozen=True)
class DecodedImages:
    """A batch of images.

    ids: B image ids. digests: SHA-256 of each image's bytes. pixels: (B, 3, H, W) uint8 RGB. damaged: further ids.
    """

    ids: list[str]
    digests: list[str]
    pixels: np.ndarray
    damaged: list[str]


def index_images(rows: pa.Table) -> pa.Table:
    """Every distinct image of a source's usable rows, where it comes first in the order of the files, in that order."""
    sides = [
        pa.table(
            {
                "image_id": rows[f"image_{side}"],
                "caption": rows["caption"],
                "model": rows[f"model_{side}"],
                **{name: rows[name] for name in ("file", "row_group", "row")},
                "side": pa.repeat(side, len(rows)),
            }
        )
        for side in (0, 1)
    ]
    order = [(name, "ascending") for name in ("file", "row_group", "row", "side")]
    table = pa.concat_tables(sides).sort_by(order)
    ids = np.asarray(table["image_id"].combine_chunks().dictionary_encode().indices)
    _, first = np.unique(ids, return_index=True)
    return table.take(pa.array(np.sort(first))).cast(IMAGES_SCHEMA)


def read_images(folder: Path, images: pa.Table, size: int, batch_size: int = 64) -> Iterator[DecodedImages]:
    """Decode images at `size` x `size` pixels, in the order of the files.

    Args:
        folder: of the source's parquet files.
        images: rows of `IMAGES_SCHEMA`, in any order.

    Raises:
        UserError: a file or a row group is damaged. A damaged image is only listed.
    """
    ids: list[str] = []
    digests: list[str] = []
    pixels: list[np.ndarray] = []
    damaged: list[str] = []
    for image_id, data in _stored(folder, images):
        decoded = decode(data, size)
        if data is None or decoded is None:
            damaged.append(image_id)
            continue
        ids.append(image_id)
        digests.append(hashlib.sha256(data).hexdigest())
        pixels.append(decoded)
        if len(ids) == batch_size:
            yield DecodedImages(ids, digests, np.stack(pixels), damaged)
            ids, digests, pixels, damaged = [], [], [], []
    if ids or damaged:
        yield DecodedImages(
            ids, digests, np.stack(pixels or [np.empty((3, size, size), np.uint8)])[: len(ids)], damaged
        )


def decode(data: bytes | None, size: int) -> np.ndarray | None:
    """A compressed image to (3, size, size) uint8 RGB: shortest side to `size`, centre crop. None if it is damaged."""
    if not data:
        return None
    try:
        with Image.open(io.BytesIO(data)) as opened:
            picture = opened.convert("RGB")
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError):
        return None  # what PIL raises at damaged, truncated, foreign and malicious files
    width, height = picture.size
    if (width, height) != (size, size):
        side = min(width, height)
        left, top = (width - side) // 2, (height - side) // 2
        picture = picture.crop((left, top, left + side, top + side)).resize((size, size), Image.Resampling.LANCZOS)
    return np.asarray(picture).transpose(2, 0, 1)


def images_fingerprint(ids: Sequence[str], digests: Sequence[str], size: int) -> str:
    """12 hex digits of the images' ids and bytes and of the size at which they are seen; their order does not count."""
    return fingerprint([size, sorted(zip(ids, digests, strict=True))])


def _stored(folder: Path, images: pa.Table) -> Iterator[tuple[str, bytes | None]]:
    """The images' ids and bytes, reading each row group once."""
    images = images.sort_by([(name, "ascending") for name in ("file", "row_group", "row", "side")])
    for name in pc.unique(images["file"]).to_pylist():
        of_file = images.filter(pc.equal(images["file"], name))
        file = open_parquet(folder / name, ("jpg_0", "jpg_1"))
        for group in pc.unique(of_file["row_group"]).to_pylist():
            wanted = of_file.filter(pc.equal(of_file["row_group"], group))
            table = read_group(file, folder / name, group, ("jpg_0", "jpg_1"))
            columns = [table["jpg_0"], table["jpg_1"]]
            for image_id, row, side in zip(
                *(wanted[column].to_pylist() for column in ("image_id", "row", "side")), strict=True
            ):
                yield image_id, columns[side][row].as_py()
