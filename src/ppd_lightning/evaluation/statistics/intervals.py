"""The ends of a bootstrap's interval, and how it is said that there is none.

R = resamples.
"""

from __future__ import annotations

import math

import numpy as np

LEAST = 2
"""People (or captions) without whom there is no interval: resampling one gives the same figure again and again. Up to
five an interval is theirs at most, from the lowest to the highest, and holds the truth less often than 95 % (their
range misses the median of P people in 2^(1 - P) of all cases)."""

NONE = f"none: fewer than {LEAST} to resample"
"""What stands instead of an interval."""


def middle(drawn: np.ndarray, units: int) -> np.ndarray:
    """The ends (2, ...) of the middle 95 % of resampled figures (R, ...), NaN where there is no interval.

    Args:
        units: how many people, captions or the like were resampled.
    """
    if units < LEAST or not len(drawn):
        return np.full((2, *drawn.shape[1:]), np.nan)
    ends: np.ndarray = np.quantile(drawn, [0.025, 0.975], axis=0)
    return ends


def rounded(value: float, digits: int = 4) -> float | None:
    """A number for a summary, rounded; None for NaN, which JSON has no word for."""
    return None if math.isnan(value) else round(value, digits)


def words(low: float | None, high: float | None, form: str, between: str = " to ") -> str:
    """The ends of an interval, each in a format such as .3f; `NONE` where there are none."""
    if low is None or high is None or math.isnan(low) or math.isnan(high):
        return NONE
    return f"{low:{form}}{between}{high:{form}}"
