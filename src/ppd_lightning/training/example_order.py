"""The order of the training examples: an endless stream in which each epoch is every pair once.

A pure function of (seed, epoch) and the pairs' ids: not of the rank, the workers, or where a run was cut off. Removing
a pair leaves the order of the others as it was.
"""

from __future__ import annotations

import hashlib
import struct

import numpy as np


class ExampleOrder:
    """Which pair is at which position of the endless stream.

    Args:
        pair_ids: (N,) int64, distinct.
    """

    def __init__(self, pair_ids: np.ndarray, seed: int) -> None:
        if not len(pair_ids):
            raise ValueError("there are no pairs to put in order")
        self.pair_ids, self.seed = pair_ids, seed
        self._epochs: dict[int, np.ndarray] = {}
        self._inverses: dict[int, np.ndarray] = {}
        self._sorted: np.ndarray | None = None

    def __call__(self, begin: int, end: int) -> tuple[np.ndarray, np.ndarray]:
        """Rows of `pair_ids` and epochs, both (end - begin,) int64, at the positions [begin, end) of the stream."""
        positions = np.arange(begin, end)
        epochs = positions // len(self.pair_ids)
        rows = np.empty(len(positions), np.int64)
        for epoch in np.unique(epochs).tolist():
            here = epochs == epoch
            rows[here] = self._epoch(epoch)[positions[here] % len(self.pair_ids)]
        return rows, epochs

    def positions(self, pair_ids: np.ndarray, epochs: np.ndarray) -> np.ndarray:
        """The positions (B,) int64 in the stream of the pairs (B,) of these ids in `epochs` (B,).

        Raises:
            ValueError: a pair is not among those that were put in order.
        """
        if self._sorted is None:
            self._sorted = np.argsort(self.pair_ids)
        rows = self._sorted[
            np.searchsorted(self.pair_ids, pair_ids, sorter=self._sorted).clip(max=len(self.pair_ids) - 1)
        ]
        if not (self.pair_ids[rows] == pair_ids).all():
            raise ValueError("a pair is not among those that were put in order")
        positions = np.empty(len(rows), np.int64)
        for epoch in np.unique(epochs).tolist():
            here = epochs == epoch
            positions[here] = epoch * len(self.pair_ids) + self._inverse(epoch)[rows[here]]
        return positions

    def _inverse(self, epoch: int) -> np.ndarray:
        if epoch not in self._inverses:
            if len(self._inverses) > 1:
                self._inverses.pop(min(self._inverses))
            order = self._epoch(epoch)
            self._inverses[epoch] = np.empty_like(order)
            self._inverses[epoch][order] = np.arange(len(order))
        return self._inverses[epoch]

    def _epoch(self, epoch: int) -> np.ndarray:
        if epoch not in self._epochs:
            if len(self._epochs) > 1:  # a batch seldom touches more than two
                self._epochs.pop(min(self._epochs))
            key = hashlib.blake2b(b"order" + struct.pack("<qq", self.seed, epoch), digest_size=8).digest()
            mixed = _mix(self.pair_ids.view(np.uint64) ^ np.uint64(int.from_bytes(key, "little")))
            self._epochs[epoch] = np.argsort(mixed, kind="stable")
        return self._epochs[epoch]


def _mix(values: np.ndarray) -> np.ndarray:
    """SplitMix64's finaliser (Steele, Lea and Flood, "Fast splittable pseudorandom number generators", 2014)."""
    values = (values ^ (values >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    values = (values ^ (values >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    mixed: np.ndarray = values ^ (values >> np.uint64(31))
    return mixed
