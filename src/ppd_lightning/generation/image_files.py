"""Captions x users x seeds as files, one image each: what is missing is drawn, what is there stays as it is.

C = captions, K = users, E = width of a user embedding.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from PIL import Image
from torch import Tensor

from ppd_lightning.generation.grid import as_picture
from ppd_lightning.generation.sampling import Draw
from ppd_lightning.storage.atomic import atomic_path


@dataclass(frozen=True)
class Wanted:
    """One image: row and column of the sheet of its seed, column 0 being the base's, column k the k-th user's."""

    row: int
    column: int
    seed: int
    caption: str

    @property
    def file(self) -> str:
        """Where it lies, relative to the folder of its settings."""
        return f"images/{self.seed:05d}-{self.row:03d}-{self.column:03d}.png"


def wanted_images(captions: Sequence[str], users: int, seeds: Sequence[int]) -> list[Wanted]:
    """Every image of the sheets: seed after seed, row after row, the base first."""
    return [
        Wanted(row, column, seed, caption)
        for seed in dict.fromkeys(seeds)
        for row, caption in enumerate(captions)
        for column in range(1 + users)
    ]


def draw_missing(
    wanted: Sequence[Wanted], draw: Draw, embeddings: Tensor, folder: Path, batch_size: int
) -> Iterator[int]:
    """Draw the images that `folder` lacks, and say after each batch how many of the images are there because of it.

    Numbers that a batch is computed with depend on its size in their last bits. So the batches are always those of the
    whole plan: an image is the same, bit for bit, whenever a run was cut off before.

    Args:
        wanted: the plan.
        draw: gives the images of a batch.
        embeddings: (C, K, E), of the users in columns 1 to K for each row's caption.
        folder: of these settings; every image is written whole or not at all.
        batch_size: images drawn at once.
    """
    for shown in (False, True):
        group = [one for one in wanted if (one.column > 0) == shown]
        for begin in range(0, len(group), batch_size):
            batch = group[begin : begin + batch_size]
            missing = [place for place, one in enumerate(batch) if not (folder / one.file).exists()]
            if not missing:
                continue
            users = torch.stack([embeddings[one.row, one.column - 1] for one in batch]) if shown else None
            images = draw([one.caption for one in batch], users, [one.seed for one in batch])
            for place in missing:
                with atomic_path(folder / batch[place].file) as unfinished:
                    as_picture(images[place]).save(unfinished)
            yield len(missing)


def read_pictures(folder: Path, wanted: Sequence[Wanted], seed: int) -> Iterator[Iterator[Image.Image]]:
    """The sheet of a seed from its files, row after row, each read when it is asked for."""
    rows: dict[int, list[Wanted]] = {}
    for one in wanted:
        if one.seed == seed:
            rows.setdefault(one.row, []).append(one)
    return ((_read(folder / one.file) for one in row) for row in rows.values())


def _read(path: Path) -> Image.Image:
    with Image.open(path) as opened:
        return opened.convert("RGB")
