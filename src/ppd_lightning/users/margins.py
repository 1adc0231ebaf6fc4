"""How much more of each score the preferred image of a pair has: what `user=reward` knows of a choice.

N = pairs, J = scores.
"""

from __future__ import annotations

import json

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from ppd_lightning.config.schemas import Config
from ppd_lightning.data import layout
from ppd_lightning.data.stores import META, Store
from ppd_lightning.run.folders import data_folder

STATISTICS = "statistics"
"""The store of image scores that `ppd prepare` makes, and its array."""


def score_margins(config: Config, pairs: pa.Table) -> np.ndarray:
    """Scores of the preferred image less those of the other, (N, J) float64, in deviations over the training pairs.

    Raises:
        UserError: the store of scores is missing, damaged or stale, or an image has no scores.
    """
    store = _open(config)
    measured = store.arrays[STATISTICS][:].astype(np.float64)
    margins = np.subtract(
        *(measured[store.index(pairs[side].cast(pa.string()))] for side in ("preferred", "dispreferred"))
    )
    trained = margins[np.asarray(pc.equal(pairs["split"], "train"))]
    # Of margins whose sign is the choice, the size is what counts: about 0, not about their mean.
    size = np.sqrt((trained**2).mean(0)) if len(trained) else np.ones(margins.shape[1])
    scaled: np.ndarray = margins / np.where(size > 1e-12, size, 1)
    return scaled


def scores_key(config: Config) -> dict[str, object]:
    """What the store of scores was made from."""
    return dict(_open(config).key)


def _open(config: Config) -> Store:
    folder = data_folder(config) / STATISTICS
    try:
        names = json.loads((folder / META).read_text(encoding="utf-8"))["key"]["names"]
    except (OSError, ValueError, KeyError, TypeError):
        names = []
    return Store.open(folder, {"images": layout.images_key(config), "names": names})
