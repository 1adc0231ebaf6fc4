"""What a prepared set of pairs is made of: people and how much each chose, captions, models, splits.

U = users.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from ppd_lightning.data.splits import SPLITS

QUANTILES = {"min": 0.0, "25 %": 0.25, "median": 0.5, "75 %": 0.75, "90 %": 0.9, "99 %": 0.99, "max": 1.0}
"""At which the pairs of the users are counted."""


@dataclass(frozen=True)
class SplitTally:
    """How many distinct things one split holds."""

    pairs: int
    users: int
    captions: int
    images: int


@dataclass(frozen=True)
class ModelTally:
    """One model that drew images: how many of those in the pairs, and how it did against the others.

    won, lost: pairs with another model's image. unknown models have the name "".
    """

    name: str
    images: int
    won: int
    lost: int

    @property
    def win_rate(self) -> float:
        """Share of the pairs with another model that it won; nan where there are none."""
        return self.won / (self.won + self.lost) if self.won + self.lost else float("nan")


@dataclass(frozen=True)
class Tally:
    """The whole.

    splits: by name, and "all". pairs_per_user: (U,) int64, most first. models: most images first.
    """

    splits: dict[str, SplitTally]
    pairs_per_user: np.ndarray
    models: list[ModelTally]

    def quantiles(self) -> dict[str, int]:
        """Pairs a user at some quantiles: the number that this share of the users does not exceed."""
        values = np.quantile(self.pairs_per_user, list(QUANTILES.values()), method="inverted_cdf")
        return dict(zip(QUANTILES, map(int, values), strict=True))

    def share_of_most_active(self, share: float) -> float:
        """The share of the pairs that the most active users made; at least one of them is counted."""
        count = max(1, round(share * len(self.pairs_per_user)))
        return float(self.pairs_per_user[:count].sum() / self.pairs_per_user.sum())


def tally(pairs: pa.Table, images: pa.Table) -> Tally:
    """Count pairs.

    Args:
        pairs: with the columns of `pairs.PAIRS_SCHEMA`.
        images: with image_id and model, of all the images that the pairs show.
    """
    user, caption, split = (_codes(pairs[name]) for name in ("user_id", "caption_id", "split"))
    images_of_pairs = pa.chunked_array([*pairs["preferred"].chunks, *pairs["dispreferred"].chunks], pa.string())
    sides = np.asarray(pc.index_in(images_of_pairs, value_set=images["image_id"])).reshape(2, -1)
    names = pc.unique(pairs["split"]).to_pylist()
    splits = {"all": _split(user, caption, *sides)}
    for name in SPLITS:
        rows = np.flatnonzero(split == names.index(name)) if name in names else np.empty(0, np.int64)
        splits[name] = _split(user[rows], caption[rows], *(side[rows] for side in sides))
    return Tally(splits, np.sort(np.bincount(user))[::-1], _models(images["model"], *sides))


def _codes(column: pa.ChunkedArray) -> np.ndarray:
    """A column of text as numbers from 0 on."""
    return np.asarray(column.combine_chunks().dictionary_encode().indices)


def _split(user: np.ndarray, caption: np.ndarray, preferred: np.ndarray, dispreferred: np.ndarray) -> SplitTally:
    images = np.union1d(preferred, dispreferred)
    return SplitTally(len(user), len(np.unique(user)), len(np.unique(caption)), len(images))


def _models(model: pa.ChunkedArray, preferred: np.ndarray, dispreferred: np.ndarray) -> list[ModelTally]:
    """Args: the model of each image, and the two images of each pair as places there."""
    names = pc.fill_null(model, "").combine_chunks().dictionary_encode()
    model_of, count = np.asarray(names.indices), len(names.dictionary)
    drawn = np.bincount(model_of[np.union1d(preferred, dispreferred)], minlength=count)
    winner, loser = model_of[preferred], model_of[dispreferred]
    other = winner != loser
    won, lost = (np.bincount(side[other], minlength=count) for side in (winner, loser))
    models = zip(names.dictionary.to_pylist(), drawn.tolist(), won.tolist(), lost.tolist(), strict=True)
    return sorted((ModelTally(*found) for found in models if found[1]), key=lambda found: (-found.images, found.name))
