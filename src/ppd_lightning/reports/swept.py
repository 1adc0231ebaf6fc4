"""A sweep's runs: each number against each swept key, and all of them as a table."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from pathlib import Path
from statistics import fmean

from markupsafe import Markup

from ppd_lightning.reports.blocks import Block, Cell, More, Plots, Section, Table, Words
from ppd_lightning.reports.plots import Series, line_plot
from ppd_lightning.storage.sweep_table import SweepRun, swept_keys

MANY = 4
"""So many numbers are plotted at once, the others on demand."""


def sweep_section(runs: Sequence[SweepRun], main: Sequence[str], best: SweepRun | None) -> Section:
    """Panels, the table, and what failed.

    Args:
        main: the numbers that matter most, the one that names the best run first.
        best: marked everywhere.
    """
    keys = swept_keys(runs)
    measured = dict.fromkeys(name for run in runs for name in run.numbers)
    varying = [name for name in measured if len({run.numbers[name] for run in runs if name in run.numbers}) > 1]
    shown = [name for name in dict.fromkeys(main) if name in varying or (name in main[:1] and name in measured)][:MANY]
    others = [name for name in varying if name not in shown]
    blocks: list[Block] = []
    if best is not None and main and main[0] in best.numbers:
        values = ", ".join(f"{key} = {best.overrides[key]}" for key in keys if key in best.overrides)
        told = f"{best.numbers[main[0]]:.4g}{f' ({values})' if values else ''}, {best.folder}"
        blocks.append(Words(f"Best by {main[0]}: run {best.number}, {told}"))
    blocks += _panels(shown, keys, runs, best)
    rows: list[list[Cell]] = []
    for run in runs:
        cells: list[Cell] = [str(run.number), *(run.overrides.get(key, "") for key in keys)]
        why = f": {run.why}" if run.why else ""
        rows.append([*cells, *(run.numbers.get(name) for name in shown), f"{run.state}{why}", Path(run.folder).name])
    marked = frozenset(place for place, run in enumerate(runs) if run is best)
    blocks.append(Table("Runs", ["run", *keys, *shown, "state", "folder"], rows, name="runs", marked=marked))
    further = list(_panels(others, keys, runs, best))
    if further:
        blocks.append(More(f"{len(others)} further numbers", further))
    return Section("Runs", blocks)


def panel(key: str, metric: str, runs: Sequence[SweepRun], best: SweepRun | None) -> Markup:
    """One SVG: a dot a run, a line through the means of each value; numbers lie on an axis, words beside each other."""
    shown = [run for run in runs if metric in run.numbers and key in run.overrides]
    values = list(dict.fromkeys(run.overrides[key] for run in shown))
    places, log = _places(values)
    values.sort(key=places.__getitem__)
    means = [
        (places[value], fmean(run.numbers[metric] for run in shown if run.overrides[key] == value)) for value in values
    ]

    def dots(chosen: Sequence[SweepRun], colour: int) -> Series:
        told = [f"run {run.number}: {run.overrides[key]}, {run.numbers[metric]:.5g}" for run in chosen]
        points = [(places[run.overrides[key]], run.numbers[metric]) for run in chosen]
        return Series("", points, colour, joined=False, dots=True, told=told)

    series = [Series("", means, 0, faint=True), dots([run for run in shown if run is not best], 0)]
    series += [dots([run for run in shown if run is best], 1)]
    words = f"{key}{' (logarithmic)' if log else ''}"
    names = {place: value for value, place in places.items()}
    return line_plot(metric, [one for one in series if one.points], across=words, names=names, log=log)


def _panels(
    metrics: Sequence[str], keys: Sequence[str], runs: Sequence[SweepRun], best: SweepRun | None
) -> Iterator[Block]:
    for metric in metrics:
        drawn = [
            panel(key, metric, runs, best)
            for key in keys
            if any(metric in run.numbers and key in run.overrides for run in runs)
        ]
        if drawn:
            yield Plots(metric, drawn)


def _places(values: Sequence[str]) -> tuple[dict[str, float], bool]:
    """Where each value lies on its axis, and whether that is logarithmic; words lie in the order in which they came."""
    try:
        numbers = [float(value) for value in values]
    except ValueError:
        return {value: float(place) for place, value in enumerate(values)}, False
    if not all(map(math.isfinite, numbers)):
        return {value: float(place) for place, value in enumerate(values)}, False
    return dict(zip(values, numbers, strict=True)), min(numbers) > 0 and max(numbers) >= 8 * min(numbers)
