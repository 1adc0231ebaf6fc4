"""Who chooses among which pictures for the person of a comparison.

N = comparisons, C = pictures to choose from, S = styles, J = image statistics, R = rows, E = width of an embedding.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Tastes:
    """Weights of the person of each comparison, known or guessed: styles (N, S), statistics (N, J)."""

    styles: np.ndarray
    statistics: np.ndarray

    def of(self, menu: Menu, judge: str = "pixels") -> np.ndarray:
        """What they think of the pictures to choose from, (N, C)."""
        by_style = np.einsum("ns,ncs->nc", self.styles, menu.styles[judge])
        found: np.ndarray = by_style + np.einsum("nj,ncj->nc", self.statistics, menu.statistics)
        return found


@dataclass(frozen=True)
class Menu:
    """The C pictures among which somebody chooses for each comparison.

    styles: (N, C, S) probabilities by the name of the judge. statistics: (N, C, J), standardised. shows: (N, C), if
    the concept is recognised.
    """

    styles: Mapping[str, np.ndarray]
    statistics: np.ndarray
    shows: np.ndarray

    def first(self, count: int) -> Menu:
        """The first `count` of them."""
        styles = {judge: of[:, :count] for judge, of in self.styles.items()}
        return Menu(styles, self.statistics[:, :count], self.shows[:, :count])


def chosen(values: np.ndarray, by: np.ndarray) -> np.ndarray:
    """Of each row of values (N, C) the one whose `by` (N, C) is highest, the first of equals: (N,)."""
    found: np.ndarray = values[np.arange(len(values)), by.argmax(1)]
    return found


def one_hot(style: np.ndarray, menu: Menu) -> np.ndarray:
    found: np.ndarray = np.eye(menu.styles["pixels"].shape[2])[style]
    return found


def with_one(vectors: np.ndarray) -> np.ndarray:
    """(R, E) to (R, E + 1)."""
    return np.concatenate([vectors, np.ones((len(vectors), 1))], 1)
