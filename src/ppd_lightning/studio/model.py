"""What the studio needs of a finished training; the verb makes one of what `ppd_lightning.open` gives.

E = width of a user embedding.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Protocol

import numpy as np
from PIL import Image

Choice = tuple[str, Image.Image, Image.Image]
"""Caption, preferred picture, other picture; of a pair that is not decided, either order."""


class StudioModel(Protocol):
    """Describes people, chooses pairs, draws. Its methods raise `UserError` as those of `opened.Model`."""

    @property
    def known(self) -> Mapping[str, np.ndarray]:
        """People whom the training knows, by name: vectors (E,)."""

    @property
    def guidance(self) -> float:
        """The user guidance scale of the training."""

    @property
    def shots(self) -> int:
        """The choices by which the training described a person."""

    def vector(self, choices: Sequence[Choice]) -> np.ndarray:
        """Somebody new by their choices, (E,)."""

    def people_file(self, choices: Sequence[Choice], name: str) -> bytes:
        """The same as a file that `generation.people` takes."""

    def next_pair(self, choices: Sequence[Choice], skipped: Collection[int]) -> int | None:
        """The number of the pair that tells most, of those that were given first; None where none is left."""

    def draw(self, captions: Sequence[str], vector: np.ndarray | None, seed: int, guidance: float) -> list[Image.Image]:
        """A picture a caption for a vector (E,), or by the base, all with the noise of one seed."""
