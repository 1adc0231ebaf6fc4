"""Which run of a sweep did best, and by which number."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from ppd_lightning.run.errors import UserError
from ppd_lightning.run.sweep_table import SweepRun

MAIN_NUMBERS = (
    "evaluate.win_rate.unseen.rate",
    "evaluate.win_rate.seen.rate",
    "train.validation/implicit_accuracy",
    "train.train/implicit_accuracy",
    "classify.top_16.rate",
    "classify.top_1.rate",
)
"""The numbers that name the best run where nobody says which, the first that was measured; of all, more is better."""


def metric_of(runs: Sequence[SweepRun], asked: str | None) -> str | None:
    """The number that names the best run; None where nobody asked and no run has a main number.

    Raises:
        UserError: no run has the number that was asked for, and some run has numbers.
    """
    measured = dict.fromkeys(name for run in runs for name in run.numbers)
    if asked is None:
        return next((name for name in MAIN_NUMBERS if name in measured), None)
    if measured and asked not in measured:
        raise UserError(f"report.metric: no run has measured {asked} (they have {', '.join(sorted(measured))})")
    return asked


def best_run(runs: Sequence[SweepRun], metric: str, goal: Literal["maximize", "minimize"]) -> SweepRun | None:
    """The finished run with the best `metric`, the first of equals; None where none has it."""
    measured = [run for run in runs if run.state == "done" and metric in run.numbers]
    sign = 1 if goal == "maximize" else -1
    return max(measured, key=lambda run: sign * run.numbers[metric], default=None)
