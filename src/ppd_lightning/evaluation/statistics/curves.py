"""Taste against content: which method pleases people more *where both keep the caption equally well*.

R = resamples, G = user guidance scales, L = levels of content.

Along the user guidance scale each method trades content (how well the caption is kept, such as the share of
images whose content is recognised) for taste (how much better people like their pictures than the base's). A method
with a larger step on that scale is not a better one, so methods are compared at equal content:

- A method's curve joins its measured points by straight lines in the order of the guidance scale. Its first point is
  guidance 0, which is the base itself (content: the base's; taste: nobody gains). Nothing is extended beyond them.
- Where a curve passes a level of content several times, its highest taste counts: who may choose the scale takes that
  one.
- Two curves are compared over the contents that both have: at single levels, and as the mean difference over that range
  (the area between the curves, divided by the width). Each resample has its own range.
- Both methods' curves of one resample are made of the same people; see `statistics.bootstrap`.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ppd_lightning.evaluation.statistics.intervals import middle

GRID = 65
"""Evenly spread levels of content, besides those of the measured points, at which the area is computed."""


@dataclass(frozen=True)
class Curves:
    """A method's measured points and the same in R resamples: content and taste, each (1 + R, G), scales rising."""

    content: np.ndarray
    taste: np.ndarray


@dataclass(frozen=True)
class Difference:
    """One curve's taste less another's.

    value, low, high: with its 95 % interval, over the resamples in which both curves reach the level. reached: the
    share of those; an interval is worth less where it is well below 1. level: of content; None for the mean over the
    common range [begin, end] of the measured curves.
    """

    level: float | None
    value: float
    low: float
    high: float
    reached: float
    begin: float
    end: float


def taste_at(content: np.ndarray, taste: np.ndarray, levels: np.ndarray) -> np.ndarray:
    """The highest taste at levels (R, L) of the curves through points (R, G): (R, L), NaN where one lacks a level."""
    begin, end = content[:, None, :-1], content[:, None, 1:]
    first, last = taste[:, None, :-1], taste[:, None, 1:]
    asked = levels[:, :, None]
    inside = (np.minimum(begin, end) <= asked) & (asked <= np.maximum(begin, end))
    flat = begin == end
    share = (asked - begin) / np.where(flat, 1, end - begin)
    along = np.where(flat, np.maximum(first, last), first + share * (last - first))
    highest: np.ndarray = np.where(inside, along, -np.inf).max(-1)
    return np.where(np.isfinite(highest), highest, np.nan)


def common_range(one: np.ndarray, other: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The lowest (R,) and highest (R,) content that both of two curves (R, G) have; in wrong order where none is."""
    return np.maximum(one.min(1), other.min(1)), np.minimum(one.max(1), other.max(1))


def mean_differences(one: Curves, other: Curves) -> np.ndarray:
    """(1 + R,): the mean over the common range of the one's taste less the other's, NaN where there is no such range.

    By the trapezoidal rule over the measured points and `GRID` levels, exact where the difference is linear between.
    """
    low, high = common_range(one.content, other.content)
    spread = low[:, None] + np.linspace(0, 1, GRID) * np.maximum(high - low, 0)[:, None]
    corners = [np.clip(curves.content, low[:, None], np.maximum(low, high)[:, None]) for curves in (one, other)]
    levels = np.sort(np.concatenate([spread, *corners], axis=1), axis=1)
    between = taste_at(one.content, one.taste, levels) - taste_at(other.content, other.taste, levels)
    wide = high > low
    areas = np.trapezoid(np.where(wide[:, None], between, 0), levels, axis=1)
    return np.where(wide, areas / np.where(wide, high - low, 1), np.nan)


def differences(one: Curves, other: Curves, levels: list[float], units: int) -> list[Difference]:
    """The mean difference over the common range, then that at each level in it; none where there is no such range.

    Args:
        units: how many people or captions were resampled.
    """
    low, high = common_range(one.content, other.content)
    begin, end = float(low[0]), float(high[0])
    if not begin < end:
        return []
    inside = [level for level in levels if begin <= level <= end]
    asked = np.broadcast_to(np.array(inside, np.float64), (len(low), len(inside)))
    at_levels = taste_at(one.content, one.taste, asked) - taste_at(other.content, other.taste, asked)
    found = np.column_stack([mean_differences(one, other), at_levels])  # (1 + R, 1 + L)
    results: list[Difference] = []
    for level, values in zip([None, *inside], found.T, strict=True):
        drawn = values[1:][np.isfinite(values[1:])]
        ends = middle(drawn, units)
        share = len(drawn) / max(1, len(values) - 1)
        results.append(Difference(level, float(values[0]), float(ends[0]), float(ends[1]), share, begin, end))
    return results
