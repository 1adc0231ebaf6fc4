"""How well images show their captions, on scales that do not end where every image is recognised.

N = comparisons of a kind of image.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from ppd_lightning.evaluation.comparisons.images import BASE, OWN, ComparisonImages
from ppd_lightning.evaluation.scores.scorers import CONCEPT
from ppd_lightning.evaluation.statistics.bootstrap import estimate
from ppd_lightning.evaluation.statistics.intervals import rounded

GAIN = "gain"
"""The run's images less the base's for the same comparisons."""


def content_means(
    images: Mapping[str, ComparisonImages], scores: Mapping[str, Mapping[str, np.ndarray]], method: str, resamples: int
) -> dict[str, dict[str, Any]]:
    """The mean of every further measure of content, with an interval over people.

    Args:
        images: by kind. scores: of each kind, (N,) by name; the measures' names begin with CONCEPT and `_`.
        method: what the run is called beside the base.
        resamples: of the bootstrap.

    Returns:
        by measure: of each kind of image, and GAIN, the mean with low, high (None where there is no interval) and n.
    """
    found: dict[str, dict[str, Any]] = {}
    for measure in (name for name in scores[BASE] if name.startswith(f"{CONCEPT}_")):
        found[measure] = {
            method if kind == OWN else kind: _mean(of_kind[measure], images[kind], resamples)
            for kind, of_kind in scores.items()
        }
        found[measure][GAIN] = _mean(scores[OWN][measure] - scores[BASE][measure], images[OWN], resamples)
    return found


def _mean(values: np.ndarray, images: ComparisonImages, resamples: int) -> dict[str, Any]:
    one = estimate(values, [comparison.user for comparison in images.comparisons], resamples)
    return {"mean": rounded(one.value), "low": rounded(one.low), "high": rounded(one.high), "n": one.n}
