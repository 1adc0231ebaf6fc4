"""Small sources in Pick-a-Pic v2's schema, made by hand."""

from __future__ import annotations

import datetime
import functools
import io
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image

from ppd_lightning.data.pickapic import SCHEMA

SIZE = 32
STYLES = ("flat", "round", "loud")


@functools.cache
def jpeg(name: str, size: tuple[int, int] = (SIZE, SIZE)) -> bytes:
    """A smooth random picture; the same name gives the same bytes."""
    generator = np.random.default_rng(list(name.encode()))
    coarse = Image.fromarray(generator.integers(0, 256, (4, 4, 3), np.uint8))
    file = io.BytesIO()
    coarse.resize(size, Image.Resampling.BICUBIC).save(file, "JPEG", quality=95, subsampling=0)
    return file.getvalue()


def row(number: int, *, user: int, caption: str, styles: tuple[str, str] = ("flat", "round"), **changes: Any) -> dict:
    """One labelled choice: of the two styles the first is preferred."""
    uids = [f"{caption}/{style}" for style in styles]
    return {
        "are_different": True,
        "best_image_uid": uids[0],
        "caption": caption,
        "created_at": datetime.datetime(2023, 1, 1),
        "has_label": True,
        "image_0_uid": uids[0],
        "image_0_url": "https://nowhere.invalid/0",
        "image_1_uid": uids[1],
        "image_1_url": "https://nowhere.invalid/1",
        "jpg_0": jpeg(uids[0]),
        "jpg_1": jpeg(uids[1]),
        "label_0": 1.0,
        "label_1": 0.0,
        "model_0": styles[0],
        "model_1": styles[1],
        "ranking_id": number,
        "user_id": user,
        "num_example_per_prompt": 1,
        "__index_level_0__": number,
        **changes,
    }


def rows(users: int = 12, each: int = 10, captions: int = 15) -> list[dict]:
    """Choices of people 1, 2, ... between two of the three styles, drawn once and for all."""
    generator, made = np.random.default_rng(0), []
    for user in range(1, users + 1):
        for caption in generator.permutation(captions)[:each]:
            first, second = generator.permutation(len(STYLES))[:2]
            pair = (STYLES[first], STYLES[second])
            made.append(row(len(made), user=user, caption=f"thing {caption}", styles=pair))
    return made


def write(folder: Path, made: list[dict], *, name: str = "train-0.parquet", group: int = 50) -> Path:
    """Write rows as one parquet file of several row groups."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / name
    pq.write_table(pa.Table.from_pylist(made, SCHEMA), path, row_group_size=group, write_page_checksum=True)
    return path


def flip_byte(path: Path, at: int) -> None:
    """Change one byte of a file."""
    data = bytearray(path.read_bytes())
    data[at] ^= 0xFF
    path.write_bytes(data)
