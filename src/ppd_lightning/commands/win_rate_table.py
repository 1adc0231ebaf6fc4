"""The win rates of an evaluation and whether they are personal, as tables on standard output."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from rich.console import Console
from rich.table import Table

from ppd_lightning.console import table_console
from ppd_lightning.evaluation.scores.own_against_other import PERSONAL
from ppd_lightning.evaluation.statistics.intervals import words

OF_EACH = "win_rate_of_each"
"""The rates of each reward that is a user: their intervals resample captions."""

MEASURES = {**PERSONAL, "preference_accuracy": "held-out pairs that the model's implicit reward orders rightly"}
"""Parts of an evaluation's summary that say whether it is personal, and what they measure."""


def print_win_rates(summary: Mapping[str, Any]) -> None:
    """Print every rate of an evaluation's summary, and how often the content is still recognised.

    Args:
        summary: as `ppd evaluate` returns it, or a part of it.
    """
    console, intervals = table_console(), "captions" if OF_EACH in summary else "users"
    title = f"Is the image drawn for a person liked better than the base's? 95 % intervals: bootstrap over {intervals}"
    columns = ("people", "judge", "win rate", "95 % interval", "won", "lost", "tied", "of decided")
    _print(console, title, columns, [*_rows(summary, ""), *_rows(summary.get("profiles", {}), ", by profile")])
    for group, share in summary.get("share_of_possible", {}).items():
        ends = words(share["low"], share["high"], ".2f", "-")
        console.print(f"share of the possible, {group}: {_number(share['share'], 2)} ({ends})", highlight=False)
    title = f"Is it personal? 95 % intervals: bootstrap over {intervals}; 0.5 is chance"
    _print(console, title, ("people", "measure", "rate", "95 % interval", "n"), [*_personal_rows(summary)])
    for name, accuracy in summary.get("concept_accuracy", {}).items():
        console.print(f"concept recognised, {name}: {accuracy:.3f}", highlight=False)
    for measure, means in summary.get("content", {}).items():
        for name, mean in means.items():
            ends = words(mean["low"], mean["high"], ".3f")
            console.print(f"{measure.replace('_', ' ')}, {name}: {mean['mean']:.3f} ({ends})", highlight=False)


def _print(console: Console, title: str, columns: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """A table of two columns of words, then numbers; none without rows."""
    if not rows:
        return
    table = Table(title=title, title_justify="left")
    for number, name in enumerate(columns):
        table.add_column(name, justify="left" if number < 2 else "right")
    for row in rows:
        table.add_row(*row)
    console.print(table)


def _rows(summary: Mapping[str, Any], suffix: str) -> Iterator[list[str]]:
    for key, rates in summary.items():
        if "win_rate" not in key or key in MEASURES:
            continue
        judge = {"win_rate": "first", "oracle_win_rate": "oracle"}.get(key, key.removeprefix("win_rate_by_"))
        for group, rate in rates.items():
            numbers = _rate(rate)
            counts = [str(rate[name]) for name in ("wins", "losses", "ties")]
            yield [f"{group}{suffix}", judge, *numbers, *counts, _number(rate["decided"], 2)]


def _personal_rows(summary: Mapping[str, Any]) -> Iterator[list[str]]:
    for key, measure in MEASURES.items():
        for group, rate in summary.get(key, {}).items():
            yield [group, measure, *_rate(rate), str(rate["n"])]


def _rate(rate: Mapping[str, Any]) -> list[str]:
    """A rate and its interval."""
    return [_number(rate["rate"], 3), words(rate["low"], rate["high"], ".2f", "-")]


def _number(value: float | None, digits: int) -> str:
    return "?" if value is None else f"{value:.{digits}f}"
