"""One pass over a source's images, and one over its captions, into stores.

B = images in a batch, H, W = height and width.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from ppd_lightning.config.schemas import Config
from ppd_lightning.data import layout
from ppd_lightning.data.images import images_fingerprint, index_images, read_images
from ppd_lightning.data.stores import Store, StoreWriter
from ppd_lightning.data.tables import table_key, write_table
from ppd_lightning.run.errors import UserError
from ppd_lightning.run.folders import data_folder

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class ImageEncoder:
    """What computes one store of images.

    store: the store's name in the data folder, and its array's. key: what the numbers depend on, beside the images.
    load: gives the function from pixels (B, 3, H, W) uint8 RGB to an array (B, ...); called if there is work.
    """

    store: str
    key: Mapping[str, Any]
    load: Callable[[], Callable[[np.ndarray], np.ndarray]]


def encode_images(config: Config, rows: pa.Table, source: str, encoders: Sequence[ImageEncoder]) -> pa.Table:
    """Decode every image once, for all encoders together, and write their stores and the table of images.

    Nothing is done where all of them are there and were made from the same.

    Args:
        rows: `pickapic.Rows.table`.
        source: the source's fingerprint.

    Returns:
        the usable images (`images.IMAGES_SCHEMA`).

    Raises:
        UserError: a file of the source is damaged, or no image can be decoded.
    """
    if _encoded(config, source, encoders):
        return layout.read_images_table(config)
    index, size = index_images(rows), config.data.image_size
    ids: list[str] = []
    digests: list[str] = []
    damaged: list[str] = []
    with ExitStack() as stack:
        work = [
            (encoder, encoder.load(), stack.enter_context(StoreWriter(data_folder(config) / encoder.store)))
            for encoder in encoders
        ]
        for batch in read_images(layout.source_folder(config), index, size):
            damaged += batch.damaged
            if batch.ids:
                ids += batch.ids
                digests += batch.digests
                for encoder, encode, writer in work:
                    writer.add(batch.ids, {encoder.store: encode(batch.pixels)})
        if not ids:
            raise UserError(f"{layout.source_folder(config)}: none of its {len(index)} images can be decoded")
        images = images_fingerprint(ids, digests, size)
        for encoder, _, writer in work:
            writer.key = {"images": images, **encoder.key}
    if damaged:
        log.warning("%d images cannot be decoded and are left out, such as %s", len(damaged), ", ".join(damaged[:3]))
    usable = index.filter(pc.is_in(index["image_id"], value_set=pa.array(ids, pa.string())))
    write_table(layout.images_path(config), usable, {"source": source, "images": images})
    log.info("encoded %d images", len(ids))
    return usable


def open_encoded(config: Config, encoder: ImageEncoder) -> Store:
    """The store that `encode_images` wrote with this encoder.

    Raises:
        UserError: it is missing, damaged or stale.
    """
    return Store.open(data_folder(config) / encoder.store, {"images": layout.images_key(config), **encoder.key})


def encode_captions(
    config: Config, key: Mapping[str, str], load: Callable[[], Callable[[list[str]], dict[str, np.ndarray]]]
) -> None:
    """Write the store of text states, unless it is there and was made from the same.

    Args:
        key: what the store is made from.
        load: gives the function from captions to arrays with a row each; called if there is work.
    """
    folder = data_folder(config) / "text"
    try:
        Store.open(folder, key)
        return
    except UserError:
        pass  # missing, damaged or stale: made anew
    table, encode = layout.read_captions(config), load()
    with StoreWriter(folder, key) as writer:
        for batch in table.to_batches(max_chunksize=256):
            writer.add(batch["caption_id"].to_pylist(), encode(batch["caption"].to_pylist()))
    log.info("encoded %d captions", len(table))


def _encoded(config: Config, source: str, encoders: Sequence[ImageEncoder]) -> bool:
    try:
        if table_key(layout.images_path(config)).get("source") != source:
            return False
        layout.read_images_table(config)
        for encoder in encoders:
            open_encoded(config, encoder)
        return True
    except UserError:
        return False  # missing, damaged or stale: made anew
