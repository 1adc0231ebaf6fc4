"""The embedded world's choices as Pick-a-Pic v2 would publish them: parquet files with the images inside.

K = concepts, S = styles.
"""

from __future__ import annotations

import datetime
import io
import logging
import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch
from PIL import Image

from ppd_lightning.data.images import decode
from ppd_lightning.data.pickapic import SCHEMA
from ppd_lightning.data.pictures import Square
from ppd_lightning.rewards.image_statistics import STATISTICS, image_statistics
from ppd_lightning.storage.atomic import atomic_path, write_text_atomic
from ppd_lightning.storage.fingerprints import fingerprint
from ppd_lightning.worlds.emoji.concepts import shipped_concepts
from ppd_lightning.worlds.emoji.people import Choices, People, choose, make_people, write_people
from ppd_lightning.worlds.emoji.pictures import STYLES, draw_world
from ppd_lightning.worlds.emoji.vendors import PACKAGES, credits_text, fetch_packages

log = logging.getLogger(__name__)

PEOPLE = "people.json"
"""The hidden truth, in the data folder."""

VERSION = 1
"""Raised when the same settings would make another world."""

QUALITY = 95
"""Of the JPEGs, without chroma subsampling."""

FIRST_CHOICE = datetime.datetime(2023, 1, 1)
"""The time of the first choice; each next one is a second later."""


@dataclass(frozen=True, kw_only=True)
class World:
    """Who chooses among pictures of what.

    concepts: how many of the shipped list. image_size: side of the pictures in pixels. people: how many choose.
    choices_each: how often each does. temperature: scale of the noise in a choice. seed: of the people and choices.
    """

    concepts: int
    image_size: int
    people: int
    choices_each: int
    temperature: float
    seed: int

    def people_ids(self) -> list[str]:
        """What its people are called."""
        return [str(number + 1) for number in range(self.people)]


def make_parquet(folder: Path, packages: Path, world: World) -> None:
    """Draw the world, let its people choose, and write source/, people.json and CREDITS.txt into `folder`.

    Nothing is done where the source is there already.

    Args:
        folder: the data folder.
        packages: the folder that the vendors' packages are fetched into.
        world: who chooses among pictures of what.

    Raises:
        UserError: the packages cannot be fetched, or the concepts not be drawn.
    """
    key = made_from(STATISTICS)
    path, stamp = folder / "source" / "choices.parquet", folder / "source.key"
    if stamp.is_file() and path.is_file() and (folder / PEOPLE).is_file() and stamp.read_bytes() == key.encode():
        return
    files = fetch_packages(packages)
    names, ids = shipped_concepts(world.concepts), world.people_ids()
    jpegs = encode_pictures(draw_world(files, names, world.image_size).pictures)
    statistics = np.stack([statistics_of(decoded(styles, world.image_size)) for styles in jpegs])  # (K, S, J)
    tastes = make_people(ids, world.seed, STYLES, STATISTICS, statistics)
    choices = choose(tastes, statistics, world.choices_each, world.temperature, world.seed)
    write_text_atomic(folder / "CREDITS.txt", credits_text())
    write_people(folder / PEOPLE, tastes)
    write_source(path, names, jpegs, tastes, choices, world.seed)
    write_text_atomic(stamp, key)
    log.info("drew %d concepts in %d styles; %d people chose", len(names), len(STYLES), len(ids))


def encode_pictures(pictures: np.ndarray) -> list[list[bytes]]:
    """Pictures (K, S, H, W, 3) uint8 as JPEG files, K lists of S."""
    return [[jpeg_of(picture) for picture in styles] for styles in pictures]


def write_source(
    path: Path, concepts: Sequence[str], jpegs: Sequence[Sequence[bytes]], people: People, choices: Choices, seed: int
) -> None:
    """Write every choice as a row, as `write_rows` does; jpegs: K lists of S."""
    styles = np.arange(len(people.styles))
    shown = Pictures(
        [image_uid(concept, style) for concept in concepts for style in people.styles],
        np.repeat(np.arange(len(concepts)), len(styles)),
        [style for _ in concepts for style in people.styles],
        [jpeg for of_styles in jpegs for jpeg in of_styles],
    )
    first = choices.concept * len(styles)
    write_rows(path, concepts, shown, people.ids, choices.person, first + choices.picked, first + choices.other, seed)


@dataclass(frozen=True)
class Pictures:
    """N pictures that people choose among. concept: (N,) rows of the captions. models: what drew each."""

    uids: Sequence[str]
    concept: np.ndarray
    models: Sequence[str]
    jpegs: Sequence[bytes]


def write_rows(
    path: Path,
    concepts: Sequence[str],
    shown: Pictures,
    ids: Sequence[str],
    person: np.ndarray,
    picked: np.ndarray,
    other: np.ndarray,
    seed: int,
) -> None:
    """Write every choice as a row; which of its two images comes first is drawn from the seed.

    Args:
        concepts: the captions.
        ids: of the people.
        person, picked, other: of each choice, rows of the ids and twice of the pictures, all (M,) integers.
    """
    count, concept = len(person), shown.concept[picked]
    picked_first = np.random.default_rng([seed, count]).random(count) < 0.5
    columns = {
        "are_different": pa.repeat(True, count),
        "best_image_uid": _take(shown.uids, picked),
        "caption": _take(concepts, concept),
        "created_at": _times(count),
        "has_label": pa.repeat(True, count),
        "label_0": pa.array(picked_first.astype(np.float64)),
        "label_1": pa.array((~picked_first).astype(np.float64)),
        "ranking_id": pa.array(np.arange(count, dtype=np.int64)),
        "user_id": pa.array([int(ids[row]) for row in person], pa.int64()),
        "num_example_per_prompt": pa.array(np.bincount(concept)[concept].astype(np.int64)),
        "__index_level_0__": pa.array(np.arange(count, dtype=np.int64)),
    }
    for side, image in enumerate((np.where(picked_first, picked, other), np.where(picked_first, other, picked))):
        uids = _take(shown.uids, image)
        columns[f"image_{side}_uid"] = uids
        columns[f"image_{side}_url"] = pa.array([f"emoji://{uid}" for uid in uids.to_pylist()])
        columns[f"model_{side}"] = _take(shown.models, image)
        columns[f"jpg_{side}"] = pa.DictionaryArray.from_arrays(
            pa.array(image, pa.int32()), pa.array(shown.jpegs, pa.binary())
        ).dictionary_decode()
    table = pa.table([columns[name] for name in SCHEMA.names], schema=SCHEMA)
    with atomic_path(path) as temporary:
        # A large dictionary page lets every image be stored once, however many rows show it.
        pq.write_table(table, temporary, dictionary_pagesize_limit=64 << 20, write_page_checksum=True)


def image_uid(concept: str, style: str) -> str:
    """The id of a picture, in the form of Pick-a-Pic's."""
    return str(uuid.uuid5(uuid.NAMESPACE_URL, f"emoji://{style}/{concept}"))


def made_from(names: Sequence[str]) -> str:
    """The hash of what draws the world: this code's version, the packages and the names of the statistics."""
    return fingerprint([VERSION, [package.integrity for package in PACKAGES.values()], names])


def decoded(jpegs: Sequence[bytes], size: int) -> np.ndarray:
    """What the models see of the pictures, (S, 3, H, W) uint8."""
    return np.stack([view for jpeg in jpegs for view in decode(jpeg, [Square(size)]) or ()])


def statistics_of(pixels: np.ndarray) -> np.ndarray:
    """Statistics (B, J) of pixels (B, 3, H, W) uint8."""
    return image_statistics(torch.from_numpy(pixels).float() / 255).numpy()


def jpeg_of(picture: np.ndarray) -> bytes:
    """A picture (H, W, 3) uint8 as a JPEG file."""
    file = io.BytesIO()
    Image.fromarray(picture).save(file, "JPEG", quality=QUALITY, subsampling=0)
    return file.getvalue()


def _take(values: Sequence[str], index: np.ndarray) -> pa.Array:
    return pa.array(list(values), pa.string()).take(pa.array(index))


def _times(count: int) -> pa.Array:
    return pa.array([FIRST_CHOICE + datetime.timedelta(seconds=row) for row in range(count)], pa.timestamp("ns"))
