"""A training's curves and settings."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ppd_lightning.errors import UserError
from ppd_lightning.figures.lines import Series, line_figure
from ppd_lightning.reports.blocks import Block, Cell, Drawing, Figures, Folded, Section, Table
from ppd_lightning.reports.methods import settings_of
from ppd_lightning.reports.run_results import RunResult
from ppd_lightning.settings.flat import flat
from ppd_lightning.storage.finished_run import AGAIN
from ppd_lightning.storage.result_folder import require_whole
from ppd_lightning.training.logged_rows import read_metrics

MAIN = ("loss", "implicit_accuracy", "margin")
"""The curves that are not folded away."""
CURVES = ("train", "validation")
"""What was logged at many steps."""
NOT_CURVES = ("pairs_per_second",)
SETTINGS = (
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
    ("beta_dpo", "beta in the convention of Diffusion-DPO's code"),
    ("seconds", "seconds"),
)
CURVE_POINTS = 200
"""Longer curves are thinned out."""

Curves = dict[str, list[tuple[float, float]]]


def settings_section(run: RunResult) -> Section:
    """The main settings, what the training measured, and how the settings differ from the shipped defaults."""
    values = flat(run.settings)
    beta = values.get("objective.name") not in ("sft", "mapo")
    rows: list[list[Cell]] = [
        [words, _word(values[key])]
        for key, words in SETTINGS
        if key in values and values[key] is not None and (beta or key != "objective.beta")
    ]
    rows += [[words, run.summary[key]] for key, words in MEASURED if key in run.summary and (beta or "beta" not in key)]
    rows += [
        [
            f"preference accuracy on {rate['n']:,} held-out pairs of {group} users",
            f"{rate['rate']:.3f} (95 % interval {rate['low']:.3f} to {rate['high']:.3f})",
        ]
        for group, rate in run.summary.get("preference_accuracy", {}).items()
    ]
    blocks: list[Block] = [Table("", ["setting", "value"], rows)]
    shipped = run.resolver.defaults
    changed = [
        [key, _word(value), _word(shipped[key]) if key in shipped else "-"]
        for key, value in settings_of(run).items()
        if key not in shipped or shipped[key] != value
    ]
    if changed:
        table = Table("", ["key", "here", "default"], changed)
        blocks.append(Folded(f"{len(changed)} settings differ from the shipped defaults", [table]))
    return Section("Settings", blocks)


def curves_section(named: Sequence[tuple[str, int, Sequence[RunResult]]]) -> Section:
    """metrics.csv of runs as figures; runs of one name have one colour, a line each.

    Args:
        named: name, colour and runs.
    """
    curves = [(name, colour, [_curves(run.folder / "metrics.csv") for run in runs]) for name, colour, runs in named]
    logged = (key.partition("/") for _, _, runs in curves for run in runs for key in run)
    metrics = dict.fromkeys(metric for part, _, metric in logged if part in CURVES)
    known = [metric for metric in metrics if metric not in NOT_CURVES]
    single = sum(len(runs) for _, _, runs in curves) == 1
    drawings = {metric: _drawing(metric, curves, single=single) for metric in [*MAIN, *known] if metric in known}
    blocks: list[Block] = []
    main = [drawings[metric] for metric in MAIN if metric in drawings]
    if main:
        note = "" if single else "One line per run; on the validation pairs where these were evaluated."
        blocks.append(Figures("", main, note))
    others = [drawing for metric, drawing in drawings.items() if metric not in MAIN]
    if others:
        blocks.append(Folded(f"{len(others)} further curves", [Figures("", others)]))
    return Section("Training curves", blocks)


def _drawing(metric: str, curves: Sequence[tuple[str, int, Sequence[Curves]]], *, single: bool) -> Drawing:
    series: list[Series] = []
    for name, colour, runs in curves:
        for number, run in enumerate(runs):
            train, validation = run.get(f"train/{metric}"), run.get(f"validation/{metric}")
            if single:
                series += [Series("training batches", train, 0, faint=True)] if train else []
                series += [Series("validation pairs", validation, 1, dots=True)] if validation else []
            elif validation or train:
                series.append(Series("" if number else name, validation or train or [], colour))
    title = metric.replace("_", " ")
    return Drawing(f"training_{metric}", title, line_figure(title, series, x_label="optimizer steps"))


def _curves(path: Path) -> Curves:
    """The points of each column; a row that was cut off is left out."""
    if not path.exists():
        return {}
    require_whole(path)
    found: Curves = {}
    for row in read_metrics(path):
        for name, value in row.items():
            if "/" in name:
                try:
                    found.setdefault(name, []).append((float(row["step"]), float(value)))
                except (KeyError, ValueError):
                    raise UserError(f"{path}: damaged ({name} is {value!r}); {AGAIN}") from None
    return {name: points[:: max(1, len(points) // CURVE_POINTS)] for name, points in found.items()}


def _word(value: Any) -> str:
    return f"{value:g}" if isinstance(value, float) else str(value)
