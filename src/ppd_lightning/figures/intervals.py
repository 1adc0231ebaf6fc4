"""Estimates with their 95 % intervals, a row each, such as win rates."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from textwrap import wrap

from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from ppd_lightning.figures.style import LIGHT, SERIES, WIDTH, new_figure, shortened, styled

LINE, AROUND = 0.16, 0.95
"""Height of a line of a name and of all around the rows, in inches."""
LETTERS, MOST_LINES = 28, 3
"""Of a name: letters of a line, and lines."""


@dataclass(frozen=True)
class Row:
    """An estimate and the ends of its interval, NaN where there is none. colour: a number, see `style.SERIES`."""

    name: str
    value: float
    low: float
    high: float
    colour: int = 0


@styled
def interval_figure(title: str, rows: Sequence[Row], *, level: float | None = None, x_label: str = "") -> Figure:
    """Rows below each other, each a dot with its interval; `level` is marked, such as 0.5 for win rates."""
    names = [wrap(shortened(row.name, LETTERS * MOST_LINES), LETTERS) for row in rows]
    height = LINE * (max(map(len, names)) + 0.5)
    figure, axes = new_figure("", WIDTH, AROUND + height * len(rows))
    figure.suptitle(shortened(title, 56), x=0.02, ha="left", fontsize=9.5, fontweight="bold")
    if level is not None:
        axes.axvline(level, color=LIGHT["faint"], linewidth=1, linestyle=(0, (4, 3)))
    for number, row in enumerate(rows):
        colour = SERIES[row.colour % len(SERIES)]
        axes.plot([row.low, row.high], [number, number], color=colour, linewidth=2, solid_capstyle="round")
        axes.plot([row.value], [number], color=colour, marker="o", markersize=6)
    axes.set_yticks(range(len(rows)), ["\n".join(lines) for lines in names])
    axes.set_ylim(len(rows) - 0.4, -0.6)
    axes.margins(x=0.06)
    axes.xaxis.set_major_locator(MaxNLocator(5))
    axes.grid(visible=False, axis="y")
    axes.spines["left"].set_visible(False)
    axes.tick_params(axis="y", labelcolor=LIGHT["ink"])
    axes.set_xlabel(x_label, loc="right")
    return figure
