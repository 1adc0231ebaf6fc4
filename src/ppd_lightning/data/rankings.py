"""What one person says of images of one caption, as pairs: a ranking, ratings, or a vote between two.

Of n images every two are a pair, n (n - 1) / 2 in all. The image of the lower rank was preferred; equal ranks are a
tie, and stay one.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from ppd_lightning.data.table_cells import is_missing
from ppd_lightning.settings.plain_text import kind_of


@dataclass(frozen=True)
class Ranking:
    """Images of one caption in one person's order.

    place: in the table, for messages. images: their names. ranks: of each image, the best has the lowest. models: what
    generated each. name: what was asked at once, where the table says so. Text is empty where the table has none.
    """

    place: str
    caption: str
    user: str
    images: tuple[str, ...]
    ranks: tuple[float, ...]
    models: tuple[str, ...] = ()
    name: str = ""

    def pairs(self) -> Iterator[tuple[int, int, float]]:
        """The numbers of two images, and 1.0 where the first was preferred, 0.0 the second, 0.5 a tie."""
        for first, second in itertools.combinations(range(len(self.images)), 2):
            one, other = self.ranks[first], self.ranks[second]
            yield first, second, 0.5 if one == other else float(one < other)


def count_of(value: Any) -> float:
    """A count of votes, or a share of them.

    Raises:
        ValueError: it is no number, or below 0; with a sentence that begins after the column's name.
    """
    number = number_of(value)
    if number < 0:
        raise ValueError(f"must be 0 or more, not {number:g}")
    return number


def number_of(value: Any) -> float:
    """A rank, a rating or a number of votes, also where it is text.

    Raises:
        ValueError: it is none, with a sentence that begins after the column's name.
    """
    if is_missing(value) or (isinstance(value, str) and not value.strip()):
        raise ValueError("is empty; expected a number")
    try:
        number = float(value) if not isinstance(value, bool) else None
    except (TypeError, ValueError, OverflowError):
        number = None
    if number is None or number - number != 0:  # infinite, or none in text
        said = repr(value[:80]) if isinstance(value, str) else kind_of(value)
        raise ValueError(f"must be a number, not {said}")
    return number
