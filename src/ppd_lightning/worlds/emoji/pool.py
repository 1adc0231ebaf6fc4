"""What people of a generated world choose among, and what is known of each picture: the truth about the pictures.

N = pictures, of which the first D are the vendors', K = concepts, S = styles, J = image statistics, P = people.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ppd_lightning.data.stores import Store, write_store
from ppd_lightning.worlds.emoji.people import People, person_generator, utilities
from ppd_lightning.worlds.emoji.sides import CHOOSING, JUDGING, Seen

POOL, DRAWINGS = "pool", "drawings"
"""The stores, in the data folder: of what is known of all pictures, and of the vendors' pixels."""

MERITS = 2
"""What everybody likes: faithfulness and quality."""


@dataclass(frozen=True)
class Pool:
    """N pictures by id.

    concepts, models: names of the concepts, and of what drew the pictures, styles first. concept, model: (N,) rows of
    these. statistics: (N, J). seen: by side. drawings: the pixels of the first D, (D, 3, H, W) uint8, which are the
    concepts' in every style.
    """

    concepts: tuple[str, ...]
    models: tuple[str, ...]
    uids: tuple[str, ...]
    concept: np.ndarray
    model: np.ndarray
    statistics: np.ndarray
    seen: Mapping[str, Seen]
    drawings: np.ndarray

    @property
    def generated(self) -> np.ndarray:
        """The rows (N - D,) of the generated pictures."""
        return np.arange(len(self.drawings), len(self.uids))

    def merits(self, side: str) -> np.ndarray:
        """(N, 2) of a side, standardised over the generated pictures."""
        return self.standardised(side, self.seen[side].merits)

    def standardised(self, side: str, merits: np.ndarray) -> np.ndarray:
        """Merits (B, 2) of any pictures by a side, in deviations over the generated pictures from their mean."""
        known = self.seen[side].merits[self.generated]
        found: np.ndarray = (merits - known.mean(0)) / np.maximum(known.std(0), 1e-6)
        return found

    def utilities(self, people: People, weights: np.ndarray, side: str) -> np.ndarray:
        """How much each person likes each picture by what a side sees, (P, N); the style of vendors' pictures is known.

        Args:
            weights: (P, 2), how much each person minds faithfulness and quality.
        """
        styles = self.seen[side].styles.copy()
        styles[: len(self.drawings)] = np.eye(styles.shape[1])[self.model[: len(self.drawings)]]
        liked: np.ndarray = utilities(people, styles, self.statistics) + weights @ self.merits(side).T
        return liked

    def write(self, folder: Path, key: str) -> None:
        """Keep it in the data folder. key: what it was made from."""
        arrays = {"concept": self.concept, "model": self.model, "statistics": self.statistics}
        for side, seen in self.seen.items():
            arrays |= {f"{side}_styles": seen.styles, f"{side}_merits": seen.merits}
        made_from = {"made_from": key, "concepts": self.concepts, "models": self.models}
        write_store(folder / POOL, self.uids, arrays, made_from, finite=[*arrays])
        uids = self.uids[: len(self.drawings)]
        write_store(folder / DRAWINGS, uids, {"pixels": self.drawings}, {"made_from": key})


def read_pool(folder: Path) -> Pool:
    """What `Pool.write` wrote.

    Raises:
        UserError: it is missing or damaged.
    """
    known, drawings = Store.open(folder / POOL, None), Store.open(folder / DRAWINGS, None)
    known.verify()
    drawings.verify()
    arrays = {name: np.asarray(array[np.arange(len(known))]) for name, array in known.arrays.items()}
    return Pool(
        tuple(known.key["concepts"]),
        tuple(known.key["models"]),
        tuple(known.ids.to_pylist()),
        arrays["concept"],
        arrays["model"],
        arrays["statistics"],
        {side: Seen(arrays[f"{side}_styles"], arrays[f"{side}_merits"]) for side in (JUDGING, CHOOSING)},
        drawings.arrays["pixels"][np.arange(len(drawings))],
    )


def own_weights(ids: Sequence[str], seed: int, means: Sequence[float], spread: float) -> np.ndarray:
    """How much each of P people minds each merit, (P, 2): log-normal, a function of the seed and the own id.

    Args:
        means: of faithfulness and quality. spread: deviation of the logarithm; with 0 all are alike.
    """
    draws = np.stack([person_generator(seed, "merits", name).standard_normal(MERITS) for name in ids])
    weights: np.ndarray = np.array(means) * np.exp(spread * draws - spread**2 / 2)
    return weights
