"""Sheets of images: captions down, the base and users across, a sheet for each seed. The images lie in galleries.

C = captions, K = people and blends.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from PIL import Image

from ppd_lightning.generation.drawn_files import read_picture
from ppd_lightning.generation.gallery import base_gallery, own_gallery
from ppd_lightning.generation.trained_run import TrainedRun
from ppd_lightning.users.blends import Asked


@dataclass(frozen=True)
class Sheet:
    """The images of one seed. files: (C, 1 + K), the base's first in each row."""

    seed: int
    files: list[list[Path]]

    def pictures(self) -> Iterator[Iterator[Image.Image]]:
        """The images, row after row; each is read when it is asked for."""
        return ((read_picture(file) for file in row) for row in self.files)


def draw_sheets(
    trained: TrainedRun, captions: Sequence[str], users: Sequence[Asked], seeds: Sequence[int]
) -> list[Sheet]:
    """A sheet of C captions and K users for each different seed; only images that no gallery holds yet are drawn.

    Raises:
        UserError: somebody cannot be described.
    """
    seeds, width = list(dict.fromkeys(seeds)), len(users)
    embeddings = trained.sheet_embeddings(users, captions).flatten(0, 1)  # (C K, E)
    rows = [(caption, seed) for seed in seeds for caption in captions]
    cells = [row for row in rows for _ in users]
    base = base_gallery(trained).draw([caption for caption, _ in rows], None, [seed for _, seed in rows])
    own = own_gallery(trained).draw(
        [caption for caption, _ in cells], embeddings.repeat(len(seeds), 1), [seed for _, seed in cells]
    )
    files = [[file, *own[row * width : (row + 1) * width]] for row, file in enumerate(base)]
    height = len(captions)
    return [Sheet(seed, files[number * height : (number + 1) * height]) for number, seed in enumerate(seeds)]
