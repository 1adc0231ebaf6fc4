"""`ppd prepare`: a source, its pairs and splits, latents and text states."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import torch

from ppd_lightning.backbones.backbone import Backbone
from ppd_lightning.backbones.known_captions import remark_on_captions
from ppd_lightning.config.root import Config
from ppd_lightning.config.workspace import Workspace
from ppd_lightning.data import quarantine
from ppd_lightning.data.caption_encoding import encode_captions
from ppd_lightning.data.encoding import Encode, ImageEncoder, encode_images
from ppd_lightning.data.images import index_images, why_unusable
from ppd_lightning.data.left_out import require_pairs
from ppd_lightning.data.pairs import caption_id, pairs_of_people, write_pairs
from ppd_lightning.data.pickapic import source_fingerprint
from ppd_lightning.data.pickapic_rows import read_rows, unusable_rows
from ppd_lightning.data.prepared import CAPTIONS_SCHEMA, PreparedData
from ppd_lightning.data.source import Source
from ppd_lightning.data.splits import SPLITS
from ppd_lightning.data.tables import write_table
from ppd_lightning.errors import UserError
from ppd_lightning.settings.plain_text import plain_text
from ppd_lightning.storage.fingerprints import fingerprint
from ppd_lightning.storage.json_files import read_checked_json, write_checked_json

log = logging.getLogger(__name__)

PARTS = {"codec": "encoder", "text_encoder": "text_encoder", "tokenizer": "tokenizer"}
"""The parts of the backbone that encode, by their names in the key of what is prepared."""


def run(config: Config) -> dict[str, Any]:
    """Prepare what every kind of labels needs, and people's own pairs; what is there already and still right is kept.

    Any number of processes may do so at once: they share the encoding and end with the same tables and stores.

    Returns:
        the summary: the folder, the counts of rows, images and pairs, and seconds.

    Raises:
        UserError: the source is missing or damaged, nothing of it can be used, or people's own pairs are to be learnt
            from and none is left; what was encoded is kept.
    """
    begun = time.monotonic()

    def require(counts: dict[str, int]) -> None:
        if config.data.labels == "people":
            require_pairs(data.pairs_path, counts)

    workspace = Workspace(replace(config, data=replace(config.data, labels="people")))
    source, backbone, data = workspace.source, workspace.backbone, workspace.data
    source.make(data.folder, workspace.output)
    backbone.require(*PARTS.values())
    key = {name: backbone.fingerprint(part) for name, part in PARTS.items()}
    key["source"] = source_fingerprint(data.source.root, data.source.files)
    _drop_unformed(data)
    finished = _finished(data, key)
    if finished is not None:
        log.info("%s is prepared: %s", data.folder, _in_words(finished["counts"]))
        require(finished["counts"])
        return finished
    rows, lines = read_rows(data.source.root, data.source.files), source.lines(data.folder)

    def write_quarantine(unusable: pa.Table) -> None:
        quarantine.write(data.folder, unusable, rows.counts["rows"], source.max_unusable, data.source, lines)

    write_quarantine(rows.unusable)  # before the long work
    require(rows.counts | _pairs(source, rows.table)[1])
    dtype: Any = np.float16 if source.half_precision else np.float32
    images = encode_images(
        data,
        rows.table,
        key["source"],
        [_latents(backbone, dtype, workspace.device)],
        workers=source.workers,
        progress=workspace.progress,
    )
    usable = _has_images(rows.table, images)
    table, damaged = rows.table.filter(usable), rows.table.filter(pc.invert(usable))
    if len(damaged):
        write_quarantine(pa.concat_tables([rows.unusable, unusable_rows(damaged, _reasons(data, damaged, images))]))
    pairs, paired, held_out = _pairs(source, table)
    write_pairs(data.pairs_path, pairs, data.pairs_key())
    splits = pairs["split"].to_pylist()
    counts = rows.counts | {"damaged_image": len(damaged), "images": len(images)} | paired
    counts |= {split: splits.count(split) for split in SPLITS}
    _write_captions(data, table, held_out)
    remark_on_captions(backbone, pc.unique(table["caption"]).to_pylist(), "data")
    if data.stores_text:
        encode_captions(data, lambda: _text(backbone, dtype, workspace.device), progress=workspace.progress)
    seconds = round(time.monotonic() - begun, 1)
    summary = {"folder": str(data.folder), "counts": counts, "seconds": seconds}
    write_checked_json(data.summary_path, {"key": key, "summary": summary})
    log.info("%s is prepared in %.1f s: %s", data.folder, seconds, _in_words(counts))
    require(counts)
    return summary


def _pairs(source: Source, rows: pa.Table) -> tuple[pa.Table, dict[str, int], frozenset[str]]:
    """People's own pairs, the counts of what was left out and of them, and the captions that only the tests see."""
    held_out = source.test_captions(pc.unique(rows["caption"]).to_pylist())
    unseen = source.unseen(pc.unique(rows["user_id"]).to_pylist())
    pairs, left_out = pairs_of_people(
        rows, held_out=held_out, unseen=unseen, validation=source.validation, min_pairs=source.min_pairs
    )
    return pairs, left_out | {"pairs": len(pairs)}, held_out


def _finished(data: PreparedData, key: dict[str, str]) -> dict[str, Any] | None:
    """The summary of an earlier run whose results are all still there and right."""
    try:
        stored = read_checked_json(data.summary_path, "it is made again")
        if stored["key"] != key:
            return None
        data.read_pairs()
        data.captions_table()
        data.images_table()
        stores = [data.open_latents(), *([data.open_text()] if data.stores_text else [])]
        if faults := [fault for store in stores for fault in store.faults_since_finished()]:
            for fault in faults:
                log.warning("%s; it is made again", fault)
            return None
        summary: dict[str, Any] = stored["summary"] | {"folder": str(data.folder)}  # it may have been moved
        return summary
    except (OSError, ValueError, KeyError, UserError):
        return None


def _drop_unformed(data: PreparedData) -> None:
    """Drop the images table of a version that took captions as they are written.

    All tables are made again then, of the captions in their normal form; what is computed of images stays.
    """
    try:
        captions = data.captions_table()["caption"].to_pylist()
    except UserError:
        return
    if [*map(plain_text, captions)] != captions:
        data.images_path.unlink(missing_ok=True)


def _latents(backbone: Backbone, dtype: Any, device: torch.device) -> ImageEncoder:
    """What computes the latents of images."""

    def load_codec() -> Encode:
        codec = backbone.load_codec(device, "encoder")

        @torch.no_grad()
        def latents(pixels: np.ndarray, _: Sequence[str]) -> np.ndarray:
            images = torch.from_numpy(pixels).to(device).float() / 255
            return codec.encode(images).cpu().numpy().astype(dtype)

        return latents

    return ImageEncoder("latents", {"codec": backbone.fingerprint("encoder")}, load_codec, finite=True)


def _text(backbone: Backbone, dtype: Any, device: torch.device) -> Callable[[list[str]], dict[str, np.ndarray]]:
    """What computes the text states of captions."""
    encoder = backbone.load_text(device)

    def encode(captions: list[str]) -> dict[str, np.ndarray]:
        return {name: states.cpu().numpy().astype(dtype) for name, states in encoder(captions).items()}

    return encode


def _has_images(rows: pa.Table, images: pa.Table) -> pa.ChunkedArray:
    """Whether the two images of each row are usable."""
    known = images["image_id"]
    return pc.and_(pc.is_in(rows["image_0"], value_set=known), pc.is_in(rows["image_1"], value_set=known))


def _reasons(data: PreparedData, rows: pa.Table, usable: pa.Table) -> list[str]:
    """What is wrong with the images of these rows."""
    index = index_images(rows)
    index = index.filter(pc.invert(pc.is_in(index["image_id"], value_set=usable["image_id"])))
    why = why_unusable(data.source.root, index)
    sides = zip(rows["image_0"].to_pylist(), rows["image_1"].to_pylist(), strict=True)
    return [
        "; ".join(f"{image} {why[image]}" for image in both if image in why) or quarantine.OF_IMAGES for both in sides
    ]


def _write_captions(data: PreparedData, rows: pa.Table, held_out: frozenset[str]) -> None:
    captions = sorted(pc.unique(rows["caption"]).to_pylist())
    columns = [[caption_id(caption) for caption in captions], captions, [caption in held_out for caption in captions]]
    table = pa.table(columns, schema=CAPTIONS_SCHEMA)
    write_table(data.captions_path, table, {"captions": fingerprint(captions)})


def _in_words(counts: dict[str, int]) -> str:
    return ", ".join(f"{name.replace('_', ' ')} {count}" for name, count in counts.items() if count)
