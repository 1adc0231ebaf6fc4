"""`-m`: every combination of the swept values, through Hydra's own sweeper and launcher."""

from __future__ import annotations

import logging
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import hydra
from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig
from rich.console import Console
from rich.table import Table

from ppd_lightning.commands.verbs import run_verb
from ppd_lightning.config.compose import as_config, compose_each, quoted, search_path
from ppd_lightning.config.groups import conf_folder
from ppd_lightning.config.overrides import sweep_runs
from ppd_lightning.config.schemas import Config
from ppd_lightning.run.errors import UserError
from ppd_lightning.run.folders import run_folder, sweep_folder
from ppd_lightning.run.sweep_table import SweepRun, numbers_of, read_runs, record

log = logging.getLogger(__name__)

MAIN_NUMBERS = (
    "train.validation/loss",
    "train.validation/implicit_accuracy",
    "evaluate.win_rate.seen.rate",
    "evaluate.win_rate.unseen.rate",
    "evaluate.concept_accuracy.ppd",
    "classify.top_1.rate",
    "classify.top_16.rate",
)
"""The numbers that the printed table shows; runs.csv holds all of them."""


def multirun(verbs: list[str], overrides: list[str], config_dir: Path | None, *, dry_run: bool = False) -> int:
    """Run the verbs for every combination of the swept values, keep a table of the runs, and print it.

    All combinations are checked before the first one starts. A run that fails does not end the others; one that was
    finished before is skipped by its own verbs.

    Returns:
        0, or 1 if a run failed, or 2 if all that failed did so by a fault of the input.

    Raises:
        UserError: with the faults of all combinations.
    """
    combinations = sweep_runs(overrides)
    configs = compose_each(combinations, config_dir)
    folder = sweep_folder(configs[0].output, verbs, overrides)
    runs = [
        SweepRun(number, _overrides(texts), str(run_folder(config)), "waiting")
        for number, (texts, config) in enumerate(zip(combinations, configs, strict=True))
    ]
    if dry_run:
        _print_table(runs, f"would run: {' '.join(verbs)}")
        return 0
    record(folder, *runs)
    log.info("%d runs, their table is %s", len(runs), folder / "runs.csv")
    main = hydra.main(version_base="1.3", config_path=str(conf_folder()), config_name="config")
    with _arguments(["--multirun", *overrides, *search_path(config_dir), f"hydra.sweep.dir={quoted(str(folder))}"]):
        main(_job(verbs, folder))()
    runs = read_runs(folder)
    _print_table(runs, f"{' '.join(verbs)}: {folder / 'runs.csv'}")
    failed = [run for run in runs if run.state != "done"]
    return 0 if not failed else 2 if all(run.mistake for run in failed) else 1


def _job(verbs: list[str], folder: Path) -> Callable[[DictConfig], None]:
    """What Hydra's launcher calls for each run, here or in another process."""

    def run(composed: DictConfig) -> None:
        from ppd_lightning.cli import set_up_logging

        set_up_logging()
        config = as_config(composed)
        job = HydraConfig.get()
        record(folder, _outcome(verbs, config, int(job.job.num), _overrides(job.overrides.task)))

    return run


def _outcome(verbs: list[str], config: Config, number: int, overrides: dict[str, str]) -> SweepRun:
    where = str(run_folder(config))
    log.info("run %d: %s", number, " ".join(f"{key}={value}" for key, value in overrides.items()))
    numbers: dict[str, float] = {}
    try:
        for verb in verbs:
            numbers.update(numbers_of(run_verb(verb, config), f"{verb}."))
    except UserError as error:
        log.error("run %d failed: %s", number, "; ".join(error.faults))
        return SweepRun(number, overrides, where, "failed", "; ".join(error.faults), True, numbers)
    except Exception as error:
        log.exception("run %d failed", number)
        return SweepRun(number, overrides, where, "failed", f"{type(error).__name__}: {error}", False, numbers)
    return SweepRun(number, overrides, where, "done", numbers=numbers)


def _overrides(texts: Sequence[str]) -> dict[str, str]:
    return {key: value for key, _, value in (text.partition("=") for text in texts)}


def _print_table(runs: Sequence[SweepRun], title: str) -> None:
    swept = [
        key
        for key in dict.fromkeys(key for run in runs for key in run.overrides)
        if len({run.overrides.get(key) for run in runs}) > 1
    ]
    measured = [name for name in MAIN_NUMBERS if any(name in run.numbers for run in runs)]
    table = Table(title=title, title_justify="left")
    for column in ("run", *swept, *measured, "state", "folder"):
        table.add_column(column, overflow="fold")
    for run in runs:
        numbers = [f"{run.numbers[name]:.4g}" if name in run.numbers else "" for name in measured]
        values = [run.overrides.get(key, "") for key in swept]
        table.add_row(str(run.number), *values, *numbers, run.state, Path(run.folder).name)
    console = Console()
    console.print(table)
    for run in runs:
        if run.why:
            console.print(f"run {run.number} failed: {run.why}", markup=False, highlight=False, soft_wrap=True)


@contextmanager
def _arguments(arguments: list[str]) -> Iterator[None]:
    """Hydra's public entry reads the process's arguments."""
    before: list[Any] = sys.argv
    sys.argv = ["ppd", *arguments]
    try:
        yield
    finally:
        sys.argv = before
