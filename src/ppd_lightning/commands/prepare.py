"""`ppd prepare`: a source, its pairs and splits, latents and text states."""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import torch

from ppd_lightning.backbones.released import ReleasedModel, open_model
from ppd_lightning.config.folders import data_folder
from ppd_lightning.config.schemas import Config, EmojiData, FolderData
from ppd_lightning.data import folder as own_pairs
from ppd_lightning.data import prepared as layout
from ppd_lightning.data import quarantine
from ppd_lightning.data.encoding import Encode, ImageEncoder, encode_captions, encode_images
from ppd_lightning.data.pairs import caption_id, pairs_of_people, write_pairs
from ppd_lightning.data.pickapic import read_rows, source_fingerprint, told_unusable
from ppd_lightning.data.splits import SPLITS, choose_count, choose_share
from ppd_lightning.data.tables import write_table
from ppd_lightning.devices import compute_device
from ppd_lightning.errors import UserError
from ppd_lightning.rewards.image_statistics import STATISTICS, image_statistics
from ppd_lightning.storage.atomic import write_json_atomic
from ppd_lightning.storage.fingerprints import fingerprint
from ppd_lightning.worlds.emoji.source import make_source

log = logging.getLogger(__name__)

DTYPE = {"emoji": np.float32, "pickapic": np.float16, "folder": np.float16}
"""How latents and text states are stored; half the space where there are many."""


def run(config: Config) -> dict[str, Any]:
    """Prepare what every kind of labels needs, and people's own pairs; what is there already and still right is kept.

    Any number of processes may do so at once: they share the encoding and end with the same tables and stores.

    Returns:
        the summary: the folder, the counts of rows, images and pairs, and seconds.

    Raises:
        UserError: the source is missing or damaged, or nothing of it can be used.
    """
    config = replace(config, data=replace(config.data, labels="people"))
    begun, folder = time.monotonic(), data_folder(config)
    model = open_model(config.model)
    if isinstance(config.data, EmojiData):
        make_source(config, config.data, STATISTICS, _statistics)
    if isinstance(config.data, FolderData):
        own_pairs.make_source(config, config.data)
    parts = {"codec": "encoder", "text_encoder": "text_encoder", "tokenizer": "tokenizer"}
    model.require(*parts.values())
    key = {name: model.fingerprint(part) for name, part in parts.items()}
    source = (layout.source_folder(config), layout.source_files(config))
    key["source"] = source_fingerprint(*source)
    told = layout.told_path(config)
    finished = _finished(config, told, key)
    if finished is not None:
        log.info("%s is prepared: %s", folder, _in_words(finished["counts"]))
        return finished
    latents = _latents(config, model)
    rows = read_rows(*source)
    quarantine.write(config, rows.unusable, rows.counts["rows"])  # before the long work
    images = encode_images(config, rows.table, key["source"], [latents])
    usable = _has_images(rows.table, images)
    table, damaged = rows.table.filter(usable), rows.table.filter(pc.invert(usable))
    if len(damaged):
        unusable = pa.concat_tables([rows.unusable, told_unusable(damaged, "damaged_image")])
        quarantine.write(config, unusable, rows.counts["rows"])
    held_out, unseen = _tests(config, table)
    counts = rows.counts | {"damaged_image": len(damaged), "images": len(images)}
    counts |= _write_pairs(config, table, held_out, unseen)
    _write_captions(config, table, held_out)
    encode_captions(
        config, layout.text_key(config, key["text_encoder"], key["tokenizer"]), lambda: _text_of(config, model)
    )
    seconds = round(time.monotonic() - begun, 1)
    summary = {"folder": str(folder), "counts": counts, "seconds": seconds}
    write_json_atomic(told, {"key": key, "summary": summary})
    log.info("%s is prepared in %.1f s: %s", folder, seconds, _in_words(counts))
    return summary


def _finished(config: Config, told: Path, key: dict[str, str]) -> dict[str, Any] | None:
    """The summary of an earlier run whose results are all still there and right."""
    try:
        stored = json.loads(told.read_text(encoding="utf-8"))
        if stored["key"] != key:
            return None
        layout.read_pairs(config)
        layout.read_captions(config)
        layout.open_latents(config, key["codec"])
        layout.open_text(config, key["text_encoder"], key["tokenizer"])
        summary: dict[str, Any] = stored["summary"]
        return summary
    except (OSError, ValueError, KeyError, UserError):
        return None


def _latents(config: Config, model: ReleasedModel) -> ImageEncoder:
    """What computes the latents of images."""
    dtype, device = DTYPE[config.data.name], compute_device(config.trainer)

    def load_codec() -> Encode:
        codec = model.load_codec(device, "encoder")

        @torch.no_grad()
        def latents(pixels: np.ndarray, _: Sequence[str]) -> np.ndarray:
            images = torch.from_numpy(pixels).to(device).float() / 255
            return codec.encode(images).cpu().numpy().astype(dtype)

        return latents

    return ImageEncoder("latents", {"codec": model.fingerprint("encoder")}, load_codec)


def _has_images(rows: pa.Table, images: pa.Table) -> pa.ChunkedArray:
    """Whether the two images of each row are usable."""
    known = images["image_id"]
    return pc.and_(pc.is_in(rows["image_0"], value_set=known), pc.is_in(rows["image_1"], value_set=known))


def _tests(config: Config, rows: pa.Table) -> tuple[frozenset[str], frozenset[str]]:
    """The captions and the users that only the tests see."""
    captions, users = (pc.unique(rows[name]).to_pylist() for name in ("caption", "user_id"))
    data = config.data
    if isinstance(data, EmojiData):
        return choose_count("caption", captions, data.held_out_concepts), choose_count(
            "user", users, data.unseen_people
        )
    return choose_share("caption", captions, data.held_out_captions), choose_share("user", users, data.unseen_users)


def _write_pairs(config: Config, rows: pa.Table, held_out: frozenset[str], unseen: frozenset[str]) -> dict[str, int]:
    """Write people's pairs and return what was left out and how many are in each split."""
    validation = config.data.validation
    pairs, counts = pairs_of_people(
        rows, held_out=held_out, unseen=unseen, validation=validation, min_pairs=config.data.min_pairs
    )
    write_pairs(layout.pairs_path(config), pairs, layout.pairs_key(config))
    splits = pairs["split"].to_pylist()
    return counts | {"pairs": len(pairs)} | {split: splits.count(split) for split in SPLITS}


def _write_captions(config: Config, rows: pa.Table, held_out: frozenset[str]) -> None:
    captions = sorted(pc.unique(rows["caption"]).to_pylist())
    columns = [[caption_id(caption) for caption in captions], captions, [caption in held_out for caption in captions]]
    table = pa.table(columns, schema=layout.CAPTIONS_SCHEMA)
    write_table(layout.captions_path(config), table, {"captions": fingerprint(captions)})


def _text_of(config: Config, model: ReleasedModel) -> Callable[[list[str]], dict[str, np.ndarray]]:
    states, dtype = model.load_text(compute_device(config.trainer)), DTYPE[config.data.name]

    def encode(captions: list[str]) -> dict[str, np.ndarray]:
        text, pooled = states(captions)
        return {"text": text.cpu().numpy().astype(dtype), "text_pooled": pooled.cpu().numpy().astype(dtype)}

    return encode


def _statistics(pixels: np.ndarray) -> np.ndarray:
    """Statistics (B, J) of pixels (B, 3, H, W) uint8."""
    return image_statistics(torch.from_numpy(pixels).float() / 255).numpy()


def _in_words(counts: dict[str, int]) -> str:
    return ", ".join(f"{name.replace('_', ' ')} {count}" for name, count in counts.items() if count)
