"""The summary of any verb as tables and figures: its rates with their intervals, then its other numbers."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from ppd_lightning.figures.intervals import Row, interval_figure
from ppd_lightning.figures.style import GREY
from ppd_lightning.reports.blocks import Block, Cell, Drawing, Figures, Interval, Table, rounded

ESTIMATES = ("rate", "correlation", "mean", "share")
"""Keys of a value that has an interval, `low` to `high`."""
COLUMNS = {
    "n": "n",
    "wins": "won",
    "losses": "lost",
    "ties": "tied",
    "decided": "won of decided",
    "chance": "chance",
    "points": "points",
    "rises": "share of steps that rise",
    "rise": "rise, in deviations",
}
"""What a summary may hold beside such a value, and the heads of these columns."""
NOT_REPORTED = ("folder", "seconds", "lowest")
"""What a summary holds for programs."""
INTERVAL = "95 % interval"
"""How intervals are called; `bootstrap` says what they resample."""


def bootstrap(settings: Mapping[str, Any]) -> str:
    """What the intervals of a run's win rates are. settings: of the run; there are no other users than its rewards."""
    return f"{INTERVAL} (bootstrap over {'captions' if settings['data']['labels'] == 'rewards' else 'users'})"


def rate_blocks(
    summary: Mapping[str, Any], title: str, *, level: float | None = 0.5, interval: str = INTERVAL
) -> list[Block]:
    """A figure and a table of every rate or correlation in a summary that has an interval.

    Args:
        level: the value of chance, which is marked.
        interval: what the intervals are.
    """
    rates = list(_rates(summary))
    if not rates:
        return []
    kept = [key for key in COLUMNS if any(key in rate for _, rate in rates)]
    name = next(key for key in ESTIMATES if key in rates[0][1])
    table: list[list[Cell]] = []
    for words, rate in rates:
        span = f" ({rounded(rate['from'])} to {rounded(rate['to'])})" if "from" in rate and "to" in rate else ""
        value = Interval(_estimate(rate), *_ends(rate), rate.get("n"))
        table.append([", ".join(words) + span, value, *(rate.get(key) for key in kept)])
    rows = [
        Row(", ".join(words), _estimate(rate), *_ends(rate), 0 if len(words) == 2 else GREY) for words, rate in rates
    ]
    figure = interval_figure(title, rows, level=level, x_label=interval)
    return [
        Figures("", [Drawing(title, title, figure)]),
        Table(title, ["", f"{name}, {interval}", *(COLUMNS[key] for key in kept)], table),
    ]


def number_table(summary: Mapping[str, Any], title: str) -> list[Block]:
    """The numbers and words of a summary that have no interval, as a table."""
    rows = [[words, value] for words, value in _number_rows(summary)]
    return [Table(title, ["", "value"], rows)] if rows else []


def matrix(values: Mapping[str, Mapping[str, float]], title: str, corner: str) -> Table:
    """Numbers by row and column."""
    columns = list(dict.fromkeys(key for row in values.values() for key in row))
    return Table(
        title, [corner, *columns], [[row, *(cells.get(key) for key in columns)] for row, cells in values.items()]
    )


def _number_rows(summary: Mapping[str, Any], before: Sequence[str] = ()) -> Iterator[tuple[str, Cell]]:
    for key, value in summary.items():
        path = [*before, key.replace("_", " ")]
        if key in NOT_REPORTED:
            continue
        if isinstance(value, Mapping):
            if not _has_interval(value):
                yield from _number_rows(value, path)
        elif isinstance(value, (bool, str)):
            yield ", ".join(path), str(value)
        elif isinstance(value, (int, float)):
            yield ", ".join(path), value


def _has_interval(value: Mapping[str, Any]) -> bool:
    return "low" in value and any(value.get(key) is not None for key in ESTIMATES)


def _estimate(value: Mapping[str, Any]) -> float:
    return float(next(value[key] for key in ESTIMATES if key in value))


def _ends(value: Mapping[str, Any]) -> tuple[float, float]:
    """Of an interval; NaN where there is none."""
    low, high = (math.nan if value[end] is None else float(value[end]) for end in ("low", "high"))
    return low, high


def _rates(
    summary: Mapping[str, Any], before: tuple[str, ...] = ()
) -> Iterator[tuple[tuple[str, ...], Mapping[str, Any]]]:
    for key, value in summary.items():
        if not isinstance(value, Mapping):
            continue
        path = (*before, key.replace("_", " "))
        if _has_interval(value):
            yield path, value
        else:
            yield from _rates(value, path)
