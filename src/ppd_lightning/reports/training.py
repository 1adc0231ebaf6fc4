"""What was trained, and how it went: settings and curves."""

from __future__ import annotations

import csv
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from ppd_lightning.config.compose import compose
from ppd_lightning.reports.blocks import Block, Cell, More, Plots, Section, Table
from ppd_lightning.reports.methods import settings_of
from ppd_lightning.reports.plots import Series, line_plot
from ppd_lightning.reports.results import RunResult, flat

MAIN = ("loss", "implicit_accuracy", "margin")
"""The curves that are shown at once, the others on demand."""
NOT_CURVES = ("pairs_per_second",)
MATTER = (
    ("objective.name", "objective"),
    ("objective.beta", "beta"),
    ("data.name", "data"),
    ("data.labels", "labels by"),
    ("model.name", "model"),
    ("user.kind", "user"),
    ("shots.n", "shots"),
    ("optimizer.lr", "learning rate"),
    ("trainer.max_steps", "steps"),
    ("trainer.batch_size", "pairs a step"),
    ("trainer.precision", "precision"),
    ("seed", "seed"),
)
MEASURED = (
    ("pairs", "pairs seen, repetitions counted"),
    ("trainable_parameters", "trainable parameters"),
    ("step0_loss", "loss at step 0 (ln 2 is 0.6931)"),
    ("coefficient", "coefficient C of the loss"),
    ("beta_dpo", "beta as Diffusion-DPO's code counts it"),
    ("seconds", "seconds"),
)
CURVE_POINTS = 200
"""More points than this are thinned out: a page shows no more."""


def trained_section(run: RunResult) -> Section:
    """The settings that matter, what the training measured, and how the settings differ from the shipped defaults."""
    values = flat(run.settings)
    beta = values.get("objective.name") != "sft"
    rows: list[list[Cell]] = [
        [words, _word(values[key])]
        for key, words in MATTER
        if key in values and values[key] is not None and (beta or key != "objective.beta")
    ]
    rows += [[words, run.summary[key]] for key, words in MEASURED if key in run.summary and (beta or "beta" not in key)]
    blocks: list[Block] = [Table("", ["setting", "value"], rows)]
    shipped = flat(asdict(compose()))
    changed = [
        [key, _word(value), _word(shipped[key]) if key in shipped else "-"]
        for key, value in settings_of(run).items()
        if key not in shipped or shipped[key] != value
    ]
    if changed:
        blocks.append(
            More(
                f"{len(changed)} settings differ from the shipped defaults",
                [Table("", ["key", "here", "default"], changed)],
            )
        )
    return Section("What was trained", blocks)


def curves_section(named: Sequence[tuple[str, int, Sequence[RunResult]]]) -> Section:
    """metrics.csv of runs as plots; runs of one name have one colour, a line each.

    Args:
        named: name, colour and runs.
    """
    curves = [(name, colour, [_curves(run.folder / "metrics.csv") for run in runs]) for name, colour, runs in named]
    metrics = dict.fromkeys(key.partition("/")[2] for _, _, runs in curves for run in runs for key in run)
    known = [metric for metric in metrics if metric not in NOT_CURVES]
    alone = sum(len(runs) for _, _, runs in curves) == 1
    plots = {metric: _plot(metric, curves, alone=alone) for metric in [*MAIN, *known] if metric in known}
    blocks: list[Block] = []
    main = [plots[metric] for metric in MAIN if metric in plots]
    if main:
        note = "" if alone else "A line a run, on the validation pairs where these were looked at."
        blocks.append(Plots("", main, note))
    others = [plot for metric, plot in plots.items() if metric not in MAIN]
    if others:
        blocks.append(More(f"{len(others)} further curves", [Plots("", others)]))
    return Section("Training", blocks)


def _plot(metric: str, curves: Sequence[tuple[str, int, Sequence[Mapping[str, Any]]]], *, alone: bool) -> Any:
    series: list[Series] = []
    for name, colour, runs in curves:
        for place, run in enumerate(runs):
            train, validation = run.get(f"train/{metric}"), run.get(f"validation/{metric}")
            if alone:
                series += [Series("training batches", train, 0, faint=True)] if train else []
                series += [Series("validation pairs", validation, 1, dots=True)] if validation else []
            elif validation or train:
                series.append(Series("" if place else name, validation or train or [], colour))
    return line_plot(metric.replace("_", " "), series, across="optimizer steps")


def _curves(path: Path) -> dict[str, list[tuple[float, float]]]:
    """The points of each column; a row that a kill cut short is left out."""
    if not path.exists():
        return {}
    with path.open(newline="", encoding="utf-8") as file:
        rows = [row for row in csv.DictReader(file) if None not in row.values()]
    found: dict[str, list[tuple[float, float]]] = {}
    for row in rows:
        for name, value in row.items():
            if "/" in name and value:
                found.setdefault(name, []).append((float(row["step"]), float(value)))
    return {name: points[:: max(1, len(points) // CURVE_POINTS)] for name, points in found.items()}


def _word(value: Any) -> str:
    return f"{value:g}" if isinstance(value, float) else str(value)
