"""Simulated people: what is known of them that nobody knows of real people.

N = images.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import numpy as np
from torch import Tensor


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

    def utilities(self, judge: str, users: Sequence[str], images: Tensor) -> np.ndarray:
        """What each user thinks of the image beside, by one of the judges, (N,) float64.

        Args:
            users: N.
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

    def recognised(self, captions: Sequence[str], images: Tensor) -> np.ndarray:
        """Whether each image shows its caption rather than another of `contents`, (N,) bool.

        Args:
            captions: N, of `contents`.
            images: (N, 3, H, W) float in [0, 1].
        """

    def representatives(self, users: Sequence[str]) -> list[tuple[str, str]]:
        """One of these users for each kind of taste, and a label of two lines: who it is, and what they like."""
