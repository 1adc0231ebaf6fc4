"""A verb's summary as tables, whatever verb: its rates with their intervals, then its other numbers."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from ppd_lightning.reports.blocks import Block, Cell, Interval, Plots, Table, rounded
from ppd_lightning.reports.plots import Bar, bar_plot

COUNTS = {"n": "n", "wins": "won", "losses": "lost", "ties": "tied", "decided": "of decided", "chance": "chance"}
"""What a rate is told with, and what that is called."""
MACHINERY = ("folder", "seconds", "lowest")
"""What a summary holds for programs."""


def rate_blocks(summary: Mapping[str, Any], title: str, *, level: float | None = 0.5) -> list[Block]:
    """A table and a plot of all that has a rate and an interval in a summary; `level` is a rate that tells nothing."""
    rates = list(_rates(summary))
    if not rates:
        return []
    kept = [key for key in COUNTS if any(key in rate for _, rate in rates)]
    rows: list[list[Cell]] = []
    for words, rate in rates:
        about = f" ({rounded(rate['from'])} to {rounded(rate['to'])})" if "from" in rate and "to" in rate else ""
        interval = Interval(rate["rate"], rate["low"], rate["high"], rate.get("n"))
        rows.append([", ".join(words) + about, interval, *(rate.get(key) for key in kept)])
    bars = [
        Bar(", ".join(words), rate["rate"], rate["low"], rate["high"], 0 if len(words) == 2 else 7)
        for words, rate in rates
    ]
    return [
        Plots("", [bar_plot(title, bars, level=level)]),
        Table(title, ["", "rate (95 %)", *(COUNTS[key] for key in kept)], rows),
    ]


def number_rows(summary: Mapping[str, Any], before: Sequence[str] = ()) -> Iterator[tuple[str, Cell]]:
    """The numbers and words of a summary that are no rates, each with where it stands."""
    for key, value in summary.items():
        where = [*before, key.replace("_", " ")]
        if isinstance(value, Mapping):
            if "rate" not in value or "low" not in value:
                yield from number_rows(value, where)
        elif isinstance(value, bool) or (isinstance(value, str) and key not in MACHINERY):
            yield ", ".join(where), str(value)
        elif isinstance(value, (int, float)) and key not in MACHINERY:
            yield ", ".join(where), value


def number_table(summary: Mapping[str, Any], title: str) -> list[Block]:
    """The numbers of a summary that are no rates, as a table."""
    kept = {key: value for key, value in summary.items() if key not in MACHINERY}
    rows = [[words, value] for words, value in number_rows(kept)]
    return [Table(title, ["", "value"], rows)] if rows else []


def matrix(values: Mapping[str, Mapping[str, float]], title: str, corner: str) -> Table:
    """Numbers by row and column."""
    columns = list(dict.fromkeys(key for row in values.values() for key in row))
    return Table(
        title, [corner, *columns], [[row, *(cells.get(key) for key in columns)] for row, cells in values.items()]
    )


def _rates(
    summary: Mapping[str, Any], before: tuple[str, ...] = ()
) -> Iterator[tuple[tuple[str, ...], Mapping[str, Any]]]:
    for key, value in summary.items():
        if not isinstance(value, Mapping):
            continue
        where = (*before, key.replace("_", " "))
        if {"rate", "low", "high"} <= value.keys():
            yield where, value
        else:
            yield from _rates(value, where)
