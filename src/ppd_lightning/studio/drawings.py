"""Drawing for visitors: one at a time, and what the base draws is kept for the next one who asks for the same.

E = width of a user embedding.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from PIL import Image

from ppd_lightning.studio.model import StudioModel
from ppd_lightning.studio.visits import size_of

REMEMBERED = 256 << 20
"""Bytes of pictures of the base that are not drawn again."""
Drawn = list[tuple[Image.Image, Image.Image]]
"""A caption's picture by the base, and for somebody."""


@dataclass(frozen=True)
class Row:
    """A caption with the base's picture and the visitor's, of one noise, and the latter's number."""

    caption: str
    base: Image.Image
    own: Image.Image
    number: int


class Drawings:
    """Draws by a model, one thread at a time: `alone` is held by whoever uses the model."""

    def __init__(self) -> None:
        self.alone = threading.Lock()
        self._base: OrderedDict[tuple[str, int], Image.Image] = OrderedDict()
        self._size = 0

    def draw(
        self, base: StudioModel, model: StudioModel, asked: Sequence[tuple[str, int]], vector: np.ndarray, scale: float
    ) -> Drawn:
        """Pictures of captions with a seed each, by the base and by a model for a vector (E,).

        Args:
            base: the model whose base draws. model: that draws for the vector.
            scale: of the user guidance, as a multiple of the training's.
        """
        found: dict[tuple[str, int], tuple[Image.Image, Image.Image]] = {}
        with self.alone:
            for seed in dict.fromkeys(seed for _, seed in asked):
                captions = [caption for caption, one in asked if one == seed]
                bases = self._bases(base, captions, seed)
                own = model.draw(captions, vector, seed, scale * model.guidance)
                found.update(zip([(caption, seed) for caption in captions], zip(bases, own, strict=True), strict=True))
        return [found[one] for one in asked]

    def _bases(self, model: StudioModel, captions: Sequence[str], seed: int) -> list[Image.Image]:
        missing = [caption for caption in dict.fromkeys(captions) if (caption, seed) not in self._base]
        if missing:
            for caption, picture in zip(missing, model.draw(missing, None, seed, 0.0), strict=True):
                self._base[caption, seed] = picture
                self._size += size_of(picture)
        found = [self._base[caption, seed] for caption in captions]
        while self._size > REMEMBERED:
            self._size -= size_of(self._base.popitem(last=False)[1])
        return found
