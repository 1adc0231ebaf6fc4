"""What a data set is made of: pairs of each user, sizes of the splits, and how its models' images fare."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, NullLocator

from ppd_lightning.figures.style import LIGHT, SERIES, shortened, styled

PANEL, HEIGHT = 4.2, 3.6
"""Width of each panel and height of the figure, in inches."""


@dataclass(frozen=True)
class Bar:
    """A share from 0 to 1 (None is unknown), and words behind its bar."""

    name: str
    share: float | None
    words: str


@styled
def statistics_figure(
    title: str,
    pairs_per_user: np.ndarray,
    splits: Sequence[Bar],
    models: Sequence[Bar],
    *,
    users_words: str,
    splits_words: str,
) -> Figure:
    """Two panels, or three where there are models to compare.

    Args:
        pairs_per_user: (users,) counts, the largest first.
        splits, models: of models the share of pairs won against other models' images.
        users_words, splits_words: a line below the titles of their panels.
    """
    panels = 3 if models else 2
    figure = Figure(figsize=(panels * PANEL, HEIGHT), layout="constrained")
    figure.suptitle(shortened(title, 30 * panels), x=0.01, ha="left", fontsize=11, fontweight="bold")
    axes = figure.subplots(1, panels)
    _heading(axes[0], "Pairs of each user", users_words)
    _long_tail(axes[0], pairs_per_user)
    _heading(axes[1], "Splits", splits_words)
    _bars(axes[1], splits)
    if models:
        _heading(axes[2], "Models", "share of pairs won against other models' images")
        _bars(axes[2], models, level=0.5)
    return figure


def _heading(axes: Axes, title: str, words: str) -> None:
    axes.set_title(title, pad=20)
    axes.annotate(
        shortened(words, 62), (0, 1), (0, 7), "axes fraction", "offset points", fontsize=8.5, color=LIGHT["faint"]
    )


def _long_tail(axes: Axes, counts: np.ndarray) -> None:
    """Pairs of the users in the order of their number, both axes logarithmic."""
    ranks = np.unique(np.geomspace(1, len(counts), 400).round().astype(np.int64))
    axes.fill_between(ranks, counts[ranks - 1], 0.8, color=SERIES[0], alpha=0.18, linewidth=0)
    axes.plot(ranks, counts[ranks - 1], color=SERIES[0], marker="o" if len(ranks) == 1 else "none")
    axes.set_xscale("log")
    axes.set_yscale("log")
    axes.set_xlim(0.9, 1.1 * max(10, len(counts)))
    axes.set_ylim(0.8, 1.3 * max(10, int(counts[0])))
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_locator(LogLocator(10))
        axis.set_major_formatter(FuncFormatter(lambda number, _: f"{number:,.0f}"))
        axis.set_minor_locator(NullLocator())
    axes.set_xlabel("rank of the user (most pairs first)")


def _bars(axes: Axes, bars: Sequence[Bar], level: float | None = None) -> None:
    for number, bar in enumerate(bars):
        axes.barh(number, 1, height=0.62, color=LIGHT["line"], alpha=0.7)
        axes.barh(number, bar.share or 0.0, height=0.62, color=SERIES[0])
        axes.text(1.04, number, bar.words, va="center", fontsize=8.5, color=LIGHT["faint"])
    if level is not None:
        axes.plot([level, level], [-0.5, len(bars) - 0.5], color=LIGHT["ink"], linewidth=1)
    axes.set_yticks(range(len(bars)), [shortened(bar.name, 22) for bar in bars])
    axes.set_ylim(max(8, len(bars)) - 0.4, -0.6)
    axes.set_xlim(0, 2.1)  # a bar of a whole takes half of the panel, its words the other
    axes.set_xticks([])
    axes.grid(visible=False)
    axes.tick_params(axis="y", labelcolor=LIGHT["ink"])
    for spine in axes.spines.values():
        spine.set_visible(False)
