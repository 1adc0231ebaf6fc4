"""`ppd runs`: the runs and sweeps of an output folder: what they are, how they stand, what they measured."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from rich.table import Table

from ppd_lightning.config.root import Config
from ppd_lightning.config.run_resolver import RunResolver
from ppd_lightning.console import table_console
from ppd_lightning.errors import UserError
from ppd_lightning.reports.run_results import RunResult, read_run_result
from ppd_lightning.settings.flat import flat
from ppd_lightning.storage.finished_run import LEASE
from ppd_lightning.storage.leases import holder_of
from ppd_lightning.storage.result_folder import require_whole
from ppd_lightning.storage.sweep_table import read_runs, read_sweep, swept_keys
from ppd_lightning.sweeps.best import Goal, best_run, metric_of
from ppd_lightning.training.logged_rows import read_metrics
from ppd_lightning.training.settings import Trainer
from ppd_lightning.training.stopping import read_stop

NAMED = {"objective": "name", "user": "kind", "data": "name"}
"""The groups that say what a run is, and their key that names the option."""

GROUPS = ("data", "model", "user", "shots", "objective", "optimizer", "rewards", "mode", "seed")
"""What runs may differ in, beside the trainer's settings that change the result."""

ACCURACY = "validation/implicit_accuracy"


def run(config: Config) -> dict[str, Any]:
    """Print a row for each run and for each sweep of `output`, the newest last.

    Returns:
        the folder, and of each run by its folder's name what the row says.
    """
    output = Path(config.output)
    runs, damaged = _read(output / "runs")
    rows: dict[str, dict[str, Any]] = {}
    for result in runs:
        try:
            rows[result.folder.name] = _row(result)
        except UserError as error:
            damaged += error.faults
    runs = [result for result in runs if result.folder.name in rows]
    differing = _differing(runs)
    for name, row in rows.items():
        row["differs in"] = differing[name]
    _print_runs(rows, damaged)
    _print_sweeps(output, config.report.metric, config.report.goal)
    return {"folder": str(output), "runs": rows}


def _read(folder: Path) -> tuple[list[RunResult], list[str]]:
    """The runs by the age of their configuration, and what is wrong with those that are damaged."""
    found, faults, resolver = [], [], RunResolver()
    for path in sorted(folder.glob("*/config.yaml"), key=lambda path: path.stat().st_mtime):
        try:
            found.append(read_run_result(path.parent, resolver))
        except UserError as error:
            faults += error.faults
    return found, faults


def _row(result: RunResult) -> dict[str, Any]:
    named = {group: str(result.settings.get(group, {}).get(key, "?")) for group, key in NAMED.items()}
    metrics = result.folder / "metrics.csv"
    require_whole(metrics)
    logged = read_metrics(metrics) if metrics.exists() else []
    accuracies = [row[ACCURACY] for row in logged if ACCURACY in row]
    accuracy = result.summary.get(ACCURACY, float(accuracies[-1]) if accuracies else None)
    figures = {} if accuracy is None else {"validation accuracy": float(accuracy)}
    evaluation = result.main_evaluation
    if evaluation is not None:
        rates: Mapping[str, Mapping[str, Any]] = evaluation.summary.get("win_rate", {})
        figures |= {f"win rate {group}": rate["rate"] for group, rate in rates.items()}
    return named | {"state": _state(result, logged), "figures": figures, "folder": str(result.folder)}


def _state(result: RunResult, logged: Sequence[Mapping[str, str]]) -> str:
    """Finished, running, stopped or unfinished, the latter ones with the step that was saved or logged last."""
    if result.finished:
        return "finished"
    step, steps = logged[-1]["step"] if logged else 0, result.settings.get("trainer", {}).get("max_steps", "?")
    running = holder_of(result.folder / LEASE) is not None
    if not running and (stop := read_stop(result.folder)):
        return f"stopped at step {stop.get('step') or step} of {steps}"
    return f"{'running' if running else 'unfinished'} at step {step} of {steps}"


def _differing(runs: Sequence[RunResult]) -> dict[str, str]:
    """By folder name: the settings in which runs of one objective, kind of user and data set differ."""
    alike: dict[tuple[Any, ...], dict[str, dict[str, Any]]] = {}
    for result in runs:
        settings = {name: result.settings[name] for name in GROUPS if name in result.settings}
        trainer = result.settings.get("trainer", {})
        settings["trainer"] = {key: trainer[key] for key in Trainer.result_keys if key in trainer}
        what = tuple(str(result.settings.get(group, {}).get(key)) for group, key in NAMED.items())
        alike.setdefault(what, {})[result.folder.name] = flat(settings)
    words = {}
    for members in alike.values():
        keys = dict.fromkeys(key for values in members.values() for key in values)
        several = [key for key in keys if len({str(values.get(key)) for values in members.values()}) > 1]
        for name, values in members.items():
            words[name] = " ".join(f"{key}={values[key]}" for key in several if key in values)
    return words


def _print_runs(rows: Mapping[str, Mapping[str, Any]], faults: Sequence[str]) -> None:
    table = Table(title=f"{len(rows)} runs", title_justify="left")
    figures = dict.fromkeys(name for row in rows.values() for name in row["figures"])
    for name in (*NAMED, "differs in", "state"):
        table.add_column(name, overflow="fold")
    for name in figures:
        table.add_column(name, justify="right")
    table.add_column("folder", overflow="fold")
    for folder, row in rows.items():
        numbers = [f"{row['figures'][name]:.3f}" if name in row["figures"] else "" for name in figures]
        words = [row[name] for name in (*NAMED, "differs in", "state")]
        table.add_row(*words, *numbers, folder)
    _print_with(table, faults)


def _print_with(table: Table, faults: Sequence[str]) -> None:
    """Print a table, and below it what is left out of it because it is damaged."""
    console = table_console()
    console.print(table)
    for fault in faults:
        console.print(fault, markup=False, highlight=False, soft_wrap=True)


def _print_sweeps(output: Path, asked: str | None, goal: Goal) -> None:
    """A row a sweep: what it varies, how its runs stand, and its best one."""
    folders = sorted((output / "sweeps").glob("*/sweep.json"), key=lambda path: path.stat().st_mtime)
    if not folders:
        return
    table = Table(title=f"{len(folders)} sweeps", title_justify="left")
    for name in ("verbs", "varies", "runs", "best", "folder"):
        table.add_column(name, overflow="fold")
    faults: list[str] = []
    for folder in (path.parent for path in folders):
        try:
            verbs = " ".join(read_sweep(folder).verbs)
        except UserError as error:
            faults += error.faults
            continue
        runs = read_runs(folder)
        swept = {key: dict.fromkeys(run.overrides.get(key, "") for run in runs) for key in swept_keys(runs)}
        varies = " ".join(f"{key}={','.join(values)}" for key, values in swept.items())
        states = [run.state for run in runs]
        counts = ", ".join(f"{states.count(state)} {state}" for state in dict.fromkeys(states))
        metric = asked if any(asked in run.numbers for run in runs) else metric_of(runs, None)
        best = None if metric is None else best_run(runs, metric, goal)
        words = "" if best is None else f"run {best.number}, {metric} {best.numbers[str(metric)]:.4g}"
        table.add_row(verbs, varies, counts, words, str(folder))
    _print_with(table, faults)
