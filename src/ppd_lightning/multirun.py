"""`-m`: every combination of the swept values, or those that a sweeper chooses, through Hydra's launchers."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from hydra import compose as hydra_compose
from hydra.core.plugins import Plugins
from hydra.types import HydraContext
from omegaconf import DictConfig, OmegaConf, open_dict
from rich.table import Table

from ppd_lightning.config.compose import compose_runs, hydra_started, search_path, sweeper_of
from ppd_lightning.config.folders import sweep_folder
from ppd_lightning.config.launch_limits import launch_faults
from ppd_lightning.config.overrides import examples, fixed, in_grammar, presets_of, sweep_runs
from ppd_lightning.config.root import Config
from ppd_lightning.config.typed import quoted
from ppd_lightning.console import table_console
from ppd_lightning.endings import at_work
from ppd_lightning.errors import UserError
from ppd_lightning.masking import without_access
from ppd_lightning.reports.settings import MEASURING
from ppd_lightning.storage.sweep_table import (
    Sweep,
    SweepRun,
    read_run,
    read_runs,
    read_sweep,
    record,
    swept_keys,
    write_sweep,
)
from ppd_lightning.sweeps.best import MAIN_NUMBERS, best_run, metric_of
from ppd_lightning.sweeps.job import job
from ppd_lightning.sweeps.launching import PlannedRun, hydra_context, launch, note, settings_of_jobs

log = logging.getLogger(__name__)

NOT_OF_THE_SWEEP = ("hydra/launcher=", "hydra.launcher.", "hydra.sweeper.n_trials=")
"""Overrides with another value of which a sweep is still the same one: where its runs are made, and how many."""


def multirun(verbs: list[str], overrides: list[str], config_dir: Path | None, *, dry_run: bool = False) -> int:
    """Run the verbs for every run of the sweep, keep a table of the runs, and print it.

    All runs are checked before the first one starts. One that fails does not end the others. The same command again
    leaves out what is finished, goes on with what was cut off, and starts what is missing.

    Returns:
        0, or 1 if a run failed, or 2 if all that failed did so by a fault of the input.

    Raises:
        UserError: with the faults of all runs.
    """
    sweeper, origins = sweeper_of(overrides, config_dir)
    presets = presets_of(sweeper)
    listed = str(sweeper.get("_target_", "BasicSweeper")).endswith("BasicSweeper")
    faults = launch_faults("sweeper", sweeper)
    with origins.named(presets, overrides):
        try:
            combinations = (sweep_runs if listed else examples)(overrides, presets, config_dir)
            composed = compose_runs(combinations, config_dir)
        except UserError as error:
            raise UserError([*faults, *error.faults]) from None
    faults += _unmeasured(verbs, [run.config.report.metric for run in composed])
    if faults:
        raise UserError(faults)
    runs = [PlannedRun(number, *planned) for number, planned in enumerate(zip(combinations, composed, strict=True))]
    config = runs[0].composed.config
    at_work("", config)
    kept = [text for text in [*presets, *overrides] if not text.startswith(NOT_OF_THE_SWEEP)]
    folder = sweep_folder(config.output, verbs, kept)
    if dry_run:
        chosen = "" if listed else "; values such as these, chosen by the sweeper"
        _print_table([run.noted("waiting") for run in runs], f"would run: {' '.join(verbs)}{chosen}")
        return 0
    write_sweep(folder, Sweep(verbs, list(map(without_access, kept))))
    with hydra_started():
        if listed:
            master = hydra_compose(overrides=settings_of_jobs(folder), return_hydra_config=True)
            note(folder, verbs, runs)
            log.info("%d runs, their table is %s", len(runs), folder / "runs.csv")
            launch(folder, runs, hydra_context(), master)
        else:
            own = f"hydra.sweep.dir={quoted(str(folder))}"
            settings = [*fixed(overrides, config_dir), *search_path(config_dir), own]
            master = hydra_compose("config", overrides=settings, return_hydra_config=True)
            log.info("the table of the runs is %s", folder / "runs.csv")
            _let_choose([*presets, *overrides], folder, config_dir, master)
    record(folder)
    return _tell(folder, verbs, config)


def launch_chosen(
    folder: Path,
    combinations: Sequence[Sequence[str]],
    first: int,
    config_dir: Path | None,
    context: HydraContext,
    master: DictConfig,
) -> list[float | None]:
    """Runs whose values a sweeper chose, numbered from `first`: their numbers for it; one with a fault fails alone."""
    verbs = read_sweep(folder).verbs
    runs = []
    for number, texts in enumerate(map(list, combinations), start=first):
        try:
            runs.append(PlannedRun(number, texts, *compose_runs([texts], config_dir)))
        except UserError as error:
            values = dict(without_access(text).partition("=")[::2] for text in texts)
            record(folder, SweepRun(number, values, "", "failed", "; ".join(error.faults), True))
    note(folder, verbs, runs)
    launch(folder, runs, context, master)
    config = runs[0].composed.config if runs else None
    return [_value(read_run(folder, first + place), config) for place in range(len(combinations))]


def _unmeasured(verbs: Sequence[str], metrics: Sequence[str | None]) -> list[str]:
    """A sentence for each figure that would name the best run, and that no verb of the sweep measures."""
    return [
        f"report.metric: {metric} is measured by {metric.partition('.')[0]}, and this sweep's runs are "
        f"{' '.join(verbs)}; sweep that verb as well, or name another figure"
        for metric in dict.fromkeys(metrics)
        if metric is not None and metric.partition(".")[0] not in verbs and not MEASURING.isdisjoint(verbs)
    ]


def _value(run: SweepRun | None, config: Config | None) -> float | None:
    if run is None or config is None or run.state != "done":
        return None
    metric = metric_of([run], config.report.metric)
    return None if metric is None else run.numbers.get(metric)


def _let_choose(overrides: Sequence[str], folder: Path, config_dir: Path | None, master: DictConfig) -> None:
    """Hand the sweep to a sweeper that chooses values; it comes back to `launch_chosen` with them.

    Raises:
        UserError: the sweeper gave up.
    """
    through: dict[str, Any] = {
        "_target_": "hydra_plugins.ppd_lightning_launcher.SweepLauncher",
        "folder": str(folder),
        "config_dir": None if config_dir is None else str(config_dir),
    }
    config = OmegaConf.create(OmegaConf.to_container(master))
    assert isinstance(config, DictConfig)
    with open_dict(config):
        config.hydra.launcher = through
    swept = [text for text in overrides if not text.startswith(("hydra", "sweep="))]
    texts = {text.partition("=")[0]: text for text in in_grammar(swept, config_dir)}
    try:
        Plugins.instance().instantiate_sweeper(hydra_context=hydra_context(), task_function=job, config=config).sweep(
            list(texts.values())
        )
    except (ValueError, AssertionError, RuntimeError) as error:
        raise UserError(f"hydra.sweeper: gave up ({error})") from error


def _tell(folder: Path, verbs: Sequence[str], config: Config) -> int:
    """Print the table and what failed, and name the best run; the exit code."""
    runs = read_runs(folder)
    _print_table(runs, f"{' '.join(verbs)}: {folder / 'runs.csv'}")
    metric = metric_of(runs, config.report.metric)
    best = None if metric is None else best_run(runs, metric, config.report.goal)
    if best is not None and len(runs) > 1:
        values = " ".join(f"{key}={best.overrides[key]}" for key in swept_keys(runs) if key in best.overrides)
        line = f"best by {metric}: run {best.number}, {best.numbers[str(metric)]:.4g} ({values})"
        table_console().print(line, markup=False, highlight=False, soft_wrap=True)
    failed = [run for run in runs if run.state != "done"]
    return 0 if not failed else 2 if all(run.mistake for run in failed) else 1


def _print_table(runs: Sequence[SweepRun], title: str) -> None:
    swept = swept_keys(runs)
    measured = [name for name in MAIN_NUMBERS if any(name in run.numbers for run in runs)]
    table = Table(title=title, title_justify="left")
    for column in ("run", *swept, *measured, "state", "folder"):
        table.add_column(column, overflow="fold")
    for run in runs:
        numbers = [f"{run.numbers[name]:.4g}" if name in run.numbers else "" for name in measured]
        values = [run.overrides.get(key, "") for key in swept]
        table.add_row(str(run.number), *values, *numbers, run.state, Path(run.folder).name)
    console = table_console()
    console.print(table)
    for run in runs:
        if run.why:
            console.print(f"run {run.number} {run.state}: {run.why}", markup=False, highlight=False, soft_wrap=True)
