"""Which run of a sweep did best, and by which number; which setting did, where each has several seeds."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import sqrt
from statistics import fmean, stdev
from typing import Literal

from ppd_lightning.errors import UserError
from ppd_lightning.storage.sweep_table import SweepRun

OWN_SCORE = "evaluate.mean_own_score."
"""What users think of their images by what decides for each, a number a method: what the paper chooses beta by."""

MAIN_NUMBERS = (
    "evaluate.win_rate.unseen.rate",
    "evaluate.win_rate.seen.rate",
    "evaluate.win_rate.synthetic.rate",
    "evaluate.preference_accuracy.unseen.rate",
    "evaluate.preference_accuracy.seen.rate",
    "train.preference_accuracy.unseen.rate",
    "train.preference_accuracy.seen.rate",
    "train.validation/implicit_accuracy",
    "train.train/implicit_accuracy",
    "classify.top_16.rate",
    "classify.top_1.rate",
)
"""The numbers that name the best run where nobody says which and there is no own score, the first that was measured."""

Goal = Literal["maximize", "minimize"]


@dataclass(frozen=True)
class Ranked:
    """One setting of a sweep: its runs, which differ in their seeds, and the mean of their numbers.

    error: the standard error of that mean, None of a single run. low, high: the interval that the only run measured
    itself, if any.
    """

    runs: list[SweepRun]
    value: float
    error: float | None
    low: float | None
    high: float | None


def metric_of(runs: Sequence[SweepRun], asked: str | None) -> str | None:
    """The number that names the best run; None where nobody asked and no run has a main number.

    Where nobody asked, it is the own score of the runs' method, if they have one method that measured it; then the main
    numbers. Of all of them more is better.

    Raises:
        UserError: no run has the number that was asked for, and some run has numbers.
    """
    measured = dict.fromkeys(name for run in runs for name in run.numbers)
    if asked is None:
        own = [name for name in measured if name.startswith(OWN_SCORE) and name != f"{OWN_SCORE}base"]
        return own[0] if len(own) == 1 else next((name for name in MAIN_NUMBERS if name in measured), None)
    if measured and asked not in measured:
        raise UserError(f"report.metric: no run has measured {asked} (they have {', '.join(sorted(measured))})")
    return asked


def best_run(runs: Sequence[SweepRun], metric: str, goal: Goal) -> SweepRun | None:
    """The finished run with the best `metric`, the first of equals; None where none has it."""
    measured = [run for run in runs if run.state == "done" and metric in run.numbers]
    sign = 1 if goal == "maximize" else -1
    return max(measured, key=lambda run: sign * run.numbers[metric], default=None)


def ranked(runs: Sequence[SweepRun], metric: str, goal: Goal) -> list[Ranked]:
    """The settings whose runs have measured `metric`, the best mean over seeds first, the first of equals before."""
    settings: dict[tuple[tuple[str, str], ...], list[SweepRun]] = {}
    for run in runs:
        if run.state == "done" and metric in run.numbers:
            key = tuple((name, value) for name, value in run.overrides.items() if name != "seed")
            settings.setdefault(key, []).append(run)
    found = [_ranked(members, metric) for members in settings.values()]
    return sorted(found, key=lambda one: -one.value if goal == "maximize" else one.value)


def _ranked(runs: list[SweepRun], metric: str) -> Ranked:
    values = [run.numbers[metric] for run in runs]
    error = stdev(values) / sqrt(len(values)) if len(values) > 1 else None
    stem = metric.removesuffix("rate")
    ends = [
        runs[0].numbers.get(f"{stem}{end}") if len(runs) == 1 and stem != metric else None for end in ("low", "high")
    ]
    return Ranked(runs, fmean(values), error, *ends)
