"""Simulated people: what is known of them that nobody knows of real people.

N = images.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol

import numpy as np
from torch import Tensor

RECOGNISED = "concept"
"""The measure that says whether an image shows its caption."""


class Simulation(Protocol):
    """People with a known utility, judges that see images, and a classifier of what an image shows.

    `Source.simulation` gives it for a source whose people are simulated.
    """

    @property
    def judges(self) -> tuple[str, ...]:
        """The names of its judges; each sees images in its own way."""

    @property
    def contents(self) -> frozenset[str]:
        """The captions whose content the classifier recognises."""

    def utilities(self, judge: str, users: Sequence[str], captions: Sequence[str], images: Tensor) -> np.ndarray:
        """What each user thinks of the image beside, by one of the judges, (N,) float64.

        Args:
            users, captions: N each; the captions are those of the images, of `contents` or not.
            images: (N, 3, H, W) float in [0, 1].
        """

    def best_utilities(self, users: Sequence[str], captions: Sequence[str], shots: np.ndarray) -> np.ndarray:
        """What each user thinks of the best image of the caption that their shots can tell, (N,) float64: an oracle.

        It knows how people are simulated, but of a user the shots alone: no method that sees them can expect more.

        Args:
            users: N.
            captions: N, of `contents`.
            shots: (N, S) int64, the stable ids of the pairs that describe each user.
        """

    def content(self, captions: Sequence[str], images: Tensor) -> Mapping[str, np.ndarray]:
        """How well each image shows its caption, by name of the measure.

        RECOGNISED, (N,) bool, says whether it shows it rather than another of `contents`; there may be further
        measures, (N,) float64 from 0 to 1, whose names begin with RECOGNISED and `_`.

        Args:
            captions: N, of `contents`.
            images: (N, 3, H, W) float in [0, 1].
        """

    def representatives(self, users: Sequence[str]) -> list[tuple[str, str]]:
        """One of these users for each kind of taste, and a label of two lines: who it is, and what they like."""
