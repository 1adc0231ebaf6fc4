"""Plots as SVG: lines over an axis, dots with intervals, curves in a plane.

They take colours and letters from the page (classes `c0` to `c7`, `grid`, `faint`), so that they follow its dark mode.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from xml.etree import ElementTree as Tree

from markupsafe import Markup

WIDTH, HEIGHT = 340, 230
"""Of a picture, in pixels; a page may show it smaller."""
LEFT, RIGHT, TOP, BOTTOM = 54, 14, 26, 40
"""Room around the axes for their words."""
COLOURS = 8
LETTER = 6.0
"""About the width of a letter."""
LINE = 15

Point = tuple[float, float]


@dataclass(frozen=True)
class Series:
    """Points that belong together.

    colour: a number; equal ones look alike. joined: by a line. dots: whether each point is one. crosses: of each point
    the ends of its two intervals (x low, x high, y low, y high). told: words of each dot.
    """

    name: str
    points: Sequence[Point]
    colour: int = 0
    joined: bool = True
    dots: bool = False
    faint: bool = False
    crosses: Sequence[tuple[float, float, float, float]] = ()
    told: Sequence[str] = ()


@dataclass(frozen=True)
class Bar:
    """A value with its interval, in a row of its own."""

    name: str
    value: float
    low: float
    high: float
    colour: int = 0
    told: str = ""


@dataclass(frozen=True)
class Axis:
    """Where values lie: from low to high, evenly or by their logarithm."""

    low: float
    high: float
    begin: float
    end: float
    log: bool = False

    def at(self, value: float) -> float:
        """The place of a value, in pixels."""
        low, high, value = (math.log(number) if self.log else number for number in (self.low, self.high, value))
        return self.begin + (self.end - self.begin) * ((value - low) / (high - low) if high > low else 0.5)


def line_plot(
    title: str,
    series: Sequence[Series],
    *,
    across: str = "",
    names: Mapping[float, str] | None = None,
    log: bool = False,
    level: float | None = None,
) -> Markup:
    """Series over one axis.

    Args:
        across: what lies along the horizontal axis.
        names: words at places of the horizontal axis, instead of its numbers.
        log: whether that axis is logarithmic.
        level: a height that is marked, such as one half for a win rate.
    """
    points = [point for one in series for point in one.points]
    points += [(x, y) for one in series for cross in one.crosses for x, y in (cross[::2], cross[1::2])]
    heights = [y for _, y in points] + ([] if level is None else [level])
    places = [x for x, _ in points]
    legend = [one for one in series if one.name]
    rows = _legend_rows(legend)
    height = HEIGHT + LINE * max(0, len(rows) - 1)
    top = TOP + LINE * len(rows)
    x = Axis(*_ends(places, 0.04 if names is None else 0.14, log=log), LEFT, WIDTH - RIGHT, log)  # words need room
    y = Axis(*_ends(heights, 0.07), height - BOTTOM, top)
    svg = _svg(height, title)
    for number in ticks(y.low, y.high, 4):
        _line(svg, (LEFT, y.at(number)), (WIDTH - RIGHT, y.at(number)), "grid")
        _text(svg, LEFT - 6, y.at(number) + 4, _short(number), "end")
    _words_across(svg, x, names, height, across)
    if level is not None:
        _line(svg, (LEFT, y.at(level)), (WIDTH - RIGHT, y.at(level)), "level")
    for one in series:
        _draw(svg, one, x, y)
    for place, row in enumerate(rows):
        at = float(LEFT)
        for one in row:
            Tree.SubElement(svg, "rect", x=f"{at:.0f}", y=f"{TOP + LINE * place - 6}", width="10", height="4").set(
                "class", f"fill c{one.colour % COLOURS}"
            )
            _text(svg, at + 14, TOP + LINE * place + 1, _cut(one.name, 44), "start")
            at += 24 + LETTER * len(_cut(one.name, 44))
    return _done(svg)


def bar_plot(title: str, bars: Sequence[Bar], *, level: float | None = None, across: str = "") -> Markup:
    """Values below each other, each a dot with its interval."""
    left = min(WIDTH * 0.55, max(LEFT, 10 + LETTER * max(len(bar.name) for bar in bars)))
    height = TOP + BOTTOM + 18 * len(bars)
    ends = [end for bar in bars for end in (bar.low, bar.high, bar.value)] + ([] if level is None else [level])
    x = Axis(*_ends(ends, 0.05), left, WIDTH - RIGHT)
    svg = _svg(height, title)
    for number in ticks(x.low, x.high, 4):
        _line(svg, (x.at(number), TOP - 8), (x.at(number), height - BOTTOM + 4), "grid")
        _text(svg, x.at(number), height - BOTTOM + 18, _short(number), "middle")
    if level is not None:
        _line(svg, (x.at(level), TOP - 8), (x.at(level), height - BOTTOM + 4), "level")
    _text(svg, (left + WIDTH - RIGHT) / 2, height - 6, across, "middle")
    for place, bar in enumerate(bars):
        y = TOP + 18 * place + 6
        _text(svg, left - 8, y + 4, _cut(bar.name, int((left - 10) / LETTER)), "end")
        _line(svg, (x.at(bar.low), y), (x.at(bar.high), y), f"stroke c{bar.colour % COLOURS}")
        dot = Tree.SubElement(svg, "circle", cx=f"{x.at(bar.value):.1f}", cy=f"{y:.1f}", r="4")
        dot.set("class", f"fill c{bar.colour % COLOURS}")
        Tree.SubElement(dot, "title").text = (
            bar.told or f"{bar.name}: {bar.value:.4g} ({bar.low:.4g} to {bar.high:.4g})"
        )
    return _done(svg)


def ticks(low: float, high: float, about: int) -> list[float]:
    """Round numbers from low to high, some `about` of them."""
    if not high > low:
        return [low]
    rough = (high - low) / about
    power: float = 10.0 ** math.floor(math.log10(rough))
    step = min((power * factor for factor in (1, 2, 2.5, 5, 10)), key=lambda size: abs(size - rough))
    first, last = math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9)
    return [round(number * step, 12) for number in range(first, last + 1)]


def _draw(svg: Tree.Element, one: Series, x: Axis, y: Axis) -> None:
    colour = f"c{one.colour % COLOURS}{' light' if one.faint else ''}"
    if one.joined and len(one.points) > 1:
        path = "L".join(f"{x.at(across):.1f} {y.at(up):.1f}" for across, up in one.points)
        Tree.SubElement(svg, "path", d=f"M{path}").set("class", f"stroke {colour}")
    for left, right, low, high in one.crosses:
        middle = (y.at((low + high) / 2), x.at((left + right) / 2))
        _line(svg, (x.at(left), middle[0]), (x.at(right), middle[0]), f"stroke light {colour}")
        _line(svg, (middle[1], y.at(low)), (middle[1], y.at(high)), f"stroke light {colour}")
    if one.dots or len(one.points) == 1:
        for place, (across, up) in enumerate(one.points):
            dot = Tree.SubElement(svg, "circle", cx=f"{x.at(across):.1f}", cy=f"{y.at(up):.1f}", r="3.4")
            dot.set("class", f"fill {colour}")
            Tree.SubElement(dot, "title").text = one.told[place] if one.told else f"{one.name} {across:.4g}, {up:.4g}"


def _words_across(svg: Tree.Element, x: Axis, names: Mapping[float, str] | None, height: float, across: str) -> None:
    """Words below the axis; those that would lie over each other are left out."""
    words = names or {number: _short(number) for number in (ticks(x.low, x.high, 5) if not x.log else _powers(x))}
    taken = -math.inf
    for place, word in sorted(words.items()):
        half = LETTER * len(_cut(word, 15)) / 2
        if x.at(place) - half > taken:
            taken = x.at(place) + half + 4
            _text(svg, x.at(place), height - BOTTOM + 16, _cut(word, 15), "middle")
    _text(svg, (LEFT + WIDTH - RIGHT) / 2, height - 6, _cut(across, 46), "middle")


def _powers(x: Axis) -> list[float]:
    return [10.0**power for power in range(math.ceil(math.log10(x.low)), math.floor(math.log10(x.high)) + 1)]


def _legend_rows(series: Sequence[Series]) -> list[list[Series]]:
    rows: list[list[Series]] = []
    at = math.inf
    for one in series:
        wide = 24 + LETTER * len(_cut(one.name, 44))
        if at + wide > WIDTH - LEFT:
            rows.append([])
            at = 0
        rows[-1].append(one)
        at += wide
    return rows


def _ends(values: Sequence[float], room: float, *, log: bool = False) -> tuple[float, float]:
    """The ends of an axis, a little beyond the values."""
    low, high = min(values), max(values)
    if log:
        factor = (high / low) ** room if high > low else 2.0
        return low / factor, high * factor
    more = room * (high - low) or abs(low) * 0.1 or 1.0
    return low - more, high + more


def _short(number: float) -> str:
    return f"{number:.4g}"


def _cut(words: str, letters: int) -> str:
    return words if len(words) <= letters else f"{words[: letters - 1]}…"


def _svg(height: float, title: str) -> Tree.Element:
    size = {"width": f"{WIDTH}", "height": f"{height:.0f}", "viewBox": f"0 0 {WIDTH} {height:.0f}", "role": "img"}
    svg = Tree.Element("svg", size)
    Tree.SubElement(svg, "title").text = title
    _text(svg, 4, 13, _cut(title, 54), "start", "head")
    return svg


def _line(svg: Tree.Element, begin: Point, end: Point, look: str) -> None:
    path = f"M{begin[0]:.1f} {begin[1]:.1f}L{end[0]:.1f} {end[1]:.1f}"
    Tree.SubElement(svg, "path", d=path).set("class", look)


def _text(svg: Tree.Element, x: float, y: float, words: str, anchor: str, look: str = "faint") -> None:
    if words:
        node = Tree.SubElement(svg, "text", {"x": f"{x:.1f}", "y": f"{y:.1f}", "text-anchor": anchor, "class": look})
        node.text = words


def _done(svg: Tree.Element) -> Markup:
    return Markup(Tree.tostring(svg, encoding="unicode"))
