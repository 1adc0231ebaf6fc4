"""`ppd select`: the best setting of a finished sweep, by the mean over its seeds, written down to go on with."""

from __future__ import annotations

import logging
import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from omegaconf import OmegaConf
from rich.console import Console

from ppd_lightning.config.root import Config
from ppd_lightning.errors import UserError
from ppd_lightning.storage.atomic import write_json_atomic, write_text_atomic
from ppd_lightning.storage.sweep_table import SweepRun, config_text, newest_sweep, read_runs, read_sweep, swept_keys
from ppd_lightning.sweeps.best import Ranked, metric_of, ranked

log = logging.getLogger(__name__)


def run(config: Config) -> dict[str, Any]:
    """Choose by `report.metric` and `report.goal`, a setting for each objective that the sweep has.

    Writes into the sweep's folder selected.json, what was chosen with its runners-up, and the configuration of its
    first run: selected.yaml, or selected-OBJECTIVE.yaml where there are several.

    Returns:
        what selected.json holds.

    Raises:
        UserError: several folders or no sweep, runs that are not done, or nothing measured what `report.metric` names.
    """
    folder = _sweep_folder(config)
    read_sweep(folder)
    runs = read_runs(folder)
    _require_done(folder, runs, allowed=config.report.unfinished)
    methods: dict[str, list[SweepRun]] = {}
    for run in runs:
        if run.state == "done":
            methods.setdefault(_objective(folder, run), []).append(run)
    keys = [key for key in swept_keys(runs) if key != "seed"]
    selection: dict[str, Any] = {"sweep": str(folder), "goal": config.report.goal, "selected": {}}
    for method, members in methods.items():
        metric = metric_of(members, config.report.metric)
        order = [] if metric is None else ranked(members, metric, config.report.goal)
        if metric is None or not order:
            raise UserError(
                f"{folder}: no run of {method} has measured a number to choose by; sweep the verb evaluate as well, "
                "or name one as report.metric"
            )
        best, *others = order
        chosen = _entry(best, keys) | {"run": best.runs[0].folder, "metric": metric}
        chosen["overrides"] = best.runs[0].overrides
        selection["selected"][method] = chosen | {"runners_up": [_entry(other, keys) for other in others]}
        file = folder / ("selected.yaml" if len(methods) == 1 else f"selected-{method}.yaml")
        write_text_atomic(file, config_text(folder, best.runs[0].number))
        _print(method, metric, best, keys)
    write_json_atomic(folder / "selected.json", selection)
    log.info("%s", folder / "selected.json")
    return selection


def _sweep_folder(config: Config) -> Path:
    if config.report.of is None:
        return newest_sweep(Path(config.output), "report.of")
    if len(config.report.of) > 1:
        raise UserError(f"report.of: a run is selected from one sweep, and {len(config.report.of)} folders are named")
    return Path(config.report.of[0])


def _require_done(folder: Path, runs: Sequence[SweepRun], *, allowed: bool) -> None:
    lacking = [run for run in runs if run.state != "done"]
    done = len(runs) - len(lacking)
    if not done or (lacking and not allowed):
        faults = [f"run {run.number} {run.state}{f': {run.why}' if run.why else ''}" for run in lacking]
        hint = (
            "; finish it by the command that began it, or choose from what is done by report.unfinished=true"
            if done
            else ""
        )
        raise UserError([f"{folder}: {done} of {len(runs)} runs are done{hint}", *faults])


def _objective(folder: Path, run: SweepRun) -> str:
    return str(OmegaConf.create(config_text(folder, run.number)).objective.name)


def _entry(one: Ranked, keys: Sequence[str]) -> dict[str, Any]:
    """A setting with its number, and how sure that is as far as it is known."""
    entry: dict[str, Any] = {"value": round(one.value, 6), "runs": [run.folder for run in one.runs]}
    if one.error is not None:
        entry["standard_error_over_seeds"] = round(one.error, 6)
    if one.low is not None and one.high is not None:
        entry["interval"] = [one.low, one.high]
    return entry | {"swept": {key: one.runs[0].overrides[key] for key in keys if key in one.runs[0].overrides}}


def _print(method: str, metric: str, best: Ranked, keys: Sequence[str]) -> None:
    """Say what was chosen, and the overrides to go on with."""
    seeds = f", the mean of {len(best.runs)} seeds" if len(best.runs) > 1 else ""
    values = " ".join(f"{key}={best.runs[0].overrides[key]}" for key in keys if key in best.runs[0].overrides)
    overrides = shlex.join(f"{key}={value}" for key, value in best.runs[0].overrides.items())
    console = Console(markup=False, highlight=False, soft_wrap=True)
    console.print(f"{method}: {values or 'the only setting'}, {metric} {best.value:.4g}{seeds}")
    console.print(f"go on with: ppd generate export {overrides}")
