"""Curves: series of points over one axis, such as a loss over steps, or taste against content."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, FuncFormatter, MaxNLocator, NullFormatter, NullLocator

from ppd_lightning.figures.style import HEIGHT, LIGHT, SERIES, WIDTH, new_figure, shortened, styled

Point = tuple[float, float]
LEGEND_LETTERS = 56
"""So many fit into a row of a legend."""
MOST_VALUES = 6
"""Of so many different x, each has its tick."""


@dataclass(frozen=True)
class Series:
    """Points that belong together.

    name: in the legend; none where it is empty. colour: the number of one, see `style.SERIES`. line: whether points are
    joined; dots: whether each has one. intervals: of each point the ends of its two intervals (x low, x high, y low, y
    high). labels: words beside each point.
    """

    name: str
    points: Sequence[Point]
    colour: int = 0
    line: bool = True
    dots: bool = False
    faint: bool = False
    intervals: Sequence[tuple[float, float, float, float]] = ()
    labels: Sequence[str] = ()


@styled
def line_figure(
    title: str,
    series: Sequence[Series],
    *,
    x_label: str = "",
    y_label: str = "",
    x_values: Sequence[float] = (),
    x_names: Sequence[str] = (),
    log: bool = False,
    level: float | None = None,
) -> Figure:
    """Series over one axis; those without points are left out.

    Args:
        x_values: where the axis has its ticks, if they are few; matplotlib chooses them else.
        x_names: words at these ticks, instead of numbers.
        log: whether the horizontal axis is logarithmic.
        level: a height that is marked.
    """
    shown = [one for one in series if one.points]
    rows = _legend_rows([shortened(one.name) for one in shown if one.name])
    figure, axes = new_figure(title, WIDTH, HEIGHT + 0.18 * max(0, len(rows) - 1))
    if log:
        axes.set_xscale("log")
    if level is not None:
        axes.axhline(level, color=LIGHT["faint"], linewidth=1, linestyle=(0, (4, 3)))
    for one in shown:
        _draw(axes, one)
    axes.set_xlabel(shortened(x_label, 60))
    axes.set_ylabel(shortened(y_label, 40))
    axes.yaxis.set_major_locator(MaxNLocator(5))
    whole = all(float(x).is_integer() for one in shown for x, _ in one.points)
    _ticks(axes, x_values, x_names, log=log, whole=whole)
    if rows:
        handles, names = axes.get_legend_handles_labels()
        figure.legend(handles, names, loc="outside lower left", ncols=max(map(len, rows)), columnspacing=1.4)
    return figure


def _draw(axes: Axes, one: Series) -> None:
    x, y = zip(*one.points, strict=True)
    dots = one.dots or len(one.points) == 1
    axes.plot(
        x,
        y,
        color=SERIES[one.colour % len(SERIES)],
        alpha=0.45 if one.faint else 1.0,
        linestyle="-" if one.line else "none",
        marker="o" if dots else "none",
        label=shortened(one.name) if one.name else "_",
        zorder=3,
    )
    for x_low, x_high, y_low, y_high in one.intervals:
        middle = ((x_low + x_high) / 2, (y_low + y_high) / 2)
        for x_ends, y_ends in (([x_low, x_high], [middle[1]] * 2), ([middle[0]] * 2, [y_low, y_high])):
            axes.plot(x_ends, y_ends, color=SERIES[one.colour % len(SERIES)], alpha=0.4, linewidth=1.1)
    for point, words in zip(one.points, one.labels, strict=False):
        axes.annotate(
            shortened(words, 20),
            point,
            xytext=(4, 4),
            textcoords="offset points",
            fontsize=7.5,
            color=SERIES[one.colour % len(SERIES)],
        )


def _ticks(axes: Axes, values: Sequence[float], names: Sequence[str], *, log: bool, whole: bool) -> None:
    """Ticks of the horizontal axis at the values themselves where they are few, and in plain numbers."""
    if names:
        axes.set_xticks(list(values), [shortened(name, 16) for name in names])
        axes.margins(x=0.15)
        if sum(len(shortened(name, 16)) for name in names) > 44:
            axes.tick_params(axis="x", labelrotation=30)
        return
    if values and len(values) <= MOST_VALUES:
        axes.xaxis.set_major_locator(FixedLocator(list(values)))
    elif not log:
        axes.xaxis.set_major_locator(MaxNLocator(5, integer=whole))
    if log:
        axes.xaxis.set_minor_locator(NullLocator())
        axes.xaxis.set_minor_formatter(NullFormatter())
    if log or values:
        axes.xaxis.set_major_formatter(FuncFormatter(lambda number, _: f"{number:g}"))


def _legend_rows(names: Sequence[str]) -> list[list[str]]:
    """Names in rows of equally many, as many as fit."""
    if not names:
        return []
    columns = max(1, min(len(names), LEGEND_LETTERS // (max(map(len, names)) + 5)))
    return [list(names[row * columns : (row + 1) * columns]) for row in range(math.ceil(len(names) / columns))]
