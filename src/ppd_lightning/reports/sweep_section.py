"""A sweep's runs: each number against each swept key, and all of them as a table."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from pathlib import Path
from statistics import fmean

from ppd_lightning.figures.lines import Series, line_figure
from ppd_lightning.reports.blocks import Block, Cell, Drawing, Figures, Folded, Section, Table, Text
from ppd_lightning.storage.sweep_table import SweepRun, swept_keys

MANY = 4
"""So many numbers have figures that are not folded away."""
TABLE_ONLY = ("n", "wins", "losses", "ties", "decided", "low", "high", "from", "to", "people", "chance", "seconds")
"""Last parts of the names of numbers without figures: counts and the ends of intervals, which runs.csv has."""
LABELLED = 12
"""Of so many runs each dot has its number."""


def sweep_section(runs: Sequence[SweepRun], main: Sequence[str], best: SweepRun | None) -> Section:
    """The best run, figures, the table, and why runs failed.

    Args:
        main: the numbers that matter most, the one that decides which run is best first.
        best: marked everywhere.
    """
    keys = swept_keys(runs)
    measured = dict.fromkeys(name for run in runs for name in run.numbers)
    varying = [name for name in measured if len({run.numbers[name] for run in runs if name in run.numbers}) > 1]
    first = [name for name in dict.fromkeys(main) if name in varying or (name in main[:1] and name in measured)][:MANY]
    others = [name for name in varying if name not in first and name.rpartition(".")[2] not in TABLE_ONLY]
    blocks: list[Block] = []
    if best is not None and main and main[0] in best.numbers:
        values = ", ".join(f"{key} = {best.overrides[key]}" for key in keys if key in best.overrides)
        which = f"{best.numbers[main[0]]:.4g}{f' ({values})' if values else ''}, {best.folder}"
        blocks.append(Text(f"Best by {main[0]}: run {best.number}, {which}", "headline"))
    blocks += _figures(first, keys, runs, best)
    rows: list[list[Cell]] = []
    for run in runs:
        cells: list[Cell] = [str(run.number), *(run.overrides.get(key, "") for key in keys)]
        why = f": {run.why}" if run.why else ""
        rows.append([*cells, *(run.numbers.get(name) for name in first), f"{run.state}{why}", Path(run.folder).name])
    marked = frozenset(row for row, run in enumerate(runs) if run is best)
    blocks.append(Table("Runs", ["run", *keys, *first, "state", "folder"], rows, name="runs", marked=marked))
    further = list(_figures(others, keys, runs, best))
    if further:
        blocks.append(Folded(f"{len(others)} further numbers", further))
    return Section("Runs", blocks)


def sweep_drawing(key: str, metric: str, runs: Sequence[SweepRun], best: SweepRun | None) -> Drawing:
    """A dot a run, a line through the means of each value; numbers are on an axis, words side by side."""
    here = [run for run in runs if metric in run.numbers and key in run.overrides]
    values = list(dict.fromkeys(run.overrides[key] for run in here))
    at, numeric, log = _axis(values)
    values.sort(key=at.__getitem__)
    means = [(at[value], fmean(run.numbers[metric] for run in here if run.overrides[key] == value)) for value in values]

    def dots(chosen: Sequence[SweepRun], colour: int, name: str) -> Series:
        points = [(at[run.overrides[key]], run.numbers[metric]) for run in chosen]
        labels = [str(run.number) for run in chosen] if len(here) <= LABELLED else []
        return Series(name, points, colour, line=False, dots=True, labels=labels)

    series = [Series("", means, 0, faint=True), dots([run for run in here if run is not best], 0, "run, by its number")]
    series += [dots([run for run in here if run is best], 1, "best run")]
    figure = line_figure(
        metric,
        series,
        x_label=f"{key}{' (logarithmic)' if log else ''}",
        x_values=[at[value] for value in values],
        x_names=[] if numeric else values,
        log=log,
    )
    return Drawing(f"{metric}-{key}", f"{metric} by {key}", figure)


def _figures(
    metrics: Sequence[str], keys: Sequence[str], runs: Sequence[SweepRun], best: SweepRun | None
) -> Iterator[Block]:
    drawings = [
        sweep_drawing(key, metric, runs, best)
        for metric in metrics
        for key in keys
        if any(metric in run.numbers and key in run.overrides for run in runs)
    ]
    if drawings:
        yield Figures("", drawings)


def _axis(values: Sequence[str]) -> tuple[dict[str, float], bool, bool]:
    """Where each value is on its axis, whether they are numbers, and whether the axis is logarithmic."""
    try:
        numbers = [float(value) for value in values]
    except ValueError:
        numbers = [math.nan]
    if not all(map(math.isfinite, numbers)):
        return {value: float(number) for number, value in enumerate(values)}, False, False
    log = min(numbers) > 0 and max(numbers) >= 8 * min(numbers)
    return dict(zip(values, numbers, strict=True)), True, log
