"""The win rates of an evaluation as a table on standard output."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from rich.markup import escape
from rich.table import Table

from ppd_lightning.console import table_console

OF_EACH = "win_rate_of_each"
"""The rates of each reward that is a user: their intervals resample captions."""


def print_win_rates(summary: Mapping[str, Any]) -> None:
    """Print every win rate of an evaluation's summary, and how often the content is still recognised.

    Args:
        summary: as `ppd evaluate` returns it, or a part of it.
    """
    intervals = "captions" if OF_EACH in summary else "users"
    title = f"Is the image drawn for a person liked better than the base's? 95 % intervals: bootstrap over {intervals}"
    table = Table(title=title, title_justify="left")
    for name in ("people", "judge", "win rate", "95 % interval", "won", "lost", "tied", "of decided"):
        table.add_column(name, justify="left" if name in ("people", "judge") else "right")
    for row in [*_rows(summary, ""), *_rows(summary.get("profiles", {}), ", by profile")]:
        table.add_row(*map(escape, row))
    console = table_console()
    console.print(table)
    for name, accuracy in summary.get("concept_accuracy", {}).items():
        console.print(f"concept recognised, {name}: {accuracy:.3f}", highlight=False)


def _rows(summary: Mapping[str, Any], suffix: str) -> Iterator[list[str]]:
    for key, rates in summary.items():
        if "win_rate" not in key:
            continue
        judge = {"win_rate": "first", "oracle_win_rate": "oracle"}.get(key, key.removeprefix("win_rate_by_"))
        for group, rate in rates.items():
            numbers = [_number(rate["rate"], 3), f"{_number(rate['low'], 2)}-{_number(rate['high'], 2)}"]
            counts = [str(rate[name]) for name in ("wins", "losses", "ties")]
            yield [f"{group}{suffix}", judge, *numbers, *counts, _number(rate["decided"], 2)]


def _number(value: float | None, digits: int) -> str:
    return "?" if value is None else f"{value:.{digits}f}"
