"""Runs through Hydra's launchers: finished ones are left out, those that died without a word are started again."""

from __future__ import annotations

import json
import logging
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import nullcontext
from copy import deepcopy
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

from hydra._internal.callbacks import Callbacks
from hydra.core.global_hydra import GlobalHydra
from hydra.core.plugins import Plugins
from hydra.types import HydraContext
from omegaconf import DictConfig, open_dict

from ppd_lightning import signals
from ppd_lightning.config.compose import Composed, as_yaml
from ppd_lightning.config.folders import run_folder
from ppd_lightning.config.typed import quoted
from ppd_lightning.errors import UserError
from ppd_lightning.masking import for_people, without_access
from ppd_lightning.storage.finished_run import is_whole
from ppd_lightning.storage.sweep_table import SweepRun, config_text, read_run, read_runs, record, write_config
from ppd_lightning.sweeps.devices import LAUNCHERS, offer_devices
from ppd_lightning.sweeps.job import job
from ppd_lightning.sweeps.slurm import largest_array
from ppd_lightning.sweeps.stopping import stop_runs

log = logging.getLogger(__name__)

RESTARTS = 2
"""How often one command starts a run again that died without a word."""

PAUSE = 5.0
"""Seconds between two looks at runs that another command has under way."""


@dataclass(frozen=True)
class PlannedRun:
    """A run with its number, what the sweep sets in it, and what that makes."""

    number: int
    overrides: list[str]
    composed: Composed

    def noted(self, state: str) -> SweepRun:
        """The run in the sweep's folder."""
        values = dict(without_access(text).partition("=")[::2] for text in self.overrides)
        return SweepRun(self.number, values, str(run_folder(self.composed.config)), state)


def hydra_context() -> HydraContext:
    """What Hydra's plugins are set up with, inside of `initialize_config_dir`."""
    return HydraContext(config_loader=GlobalHydra.instance().config_loader(), callbacks=Callbacks())


def settings_of_jobs(folder: Path) -> list[str]:
    """What a job is composed of, besides its number: what Hydra needs to start it, for it reads its configuration."""
    own = ("hydra/hydra_logging=none", "hydra/job_logging=none", "hydra.output_subdir=null", "hydra.sweep.subdir=.")
    return [*own, f"hydra.sweep.dir={quoted(str(folder))}"]


def note(folder: Path, verbs: Sequence[str], runs: Sequence[PlannedRun]) -> None:
    """Write each run's configuration; those that are neither finished nor under way are waiting from now on."""
    waiting = []
    for run in runs:
        before, text = read_run(folder, run.number), as_yaml(run.composed.config)
        same = _has_config(folder, run.number, text)
        if before is not None and (before.state == "running" or (same and _is_finished(before, verbs))):
            continue
        write_config(folder, run.number, text)
        waiting.append(run.noted("waiting"))
    record(folder, *waiting)


def launch(folder: Path, runs: Sequence[PlannedRun], context: HydraContext, master: DictConfig) -> None:
    """Start the waiting ones of the runs, and come back when every one has ended.

    Args:
        folder: the sweep's, where the runs were noted.
        context: see `hydra_context`.
        master: Hydra's composition of the sweep's settings, `hydra.sweep.dir` being the folder.
    """
    tries: Counter[int] = Counter()
    while True:
        states = {run.number: run for run in read_runs(folder)}
        lost = [number for number, run in states.items() if run.lost]
        todo = [run for run in runs if states[run.number].state == "waiting" or run.number in lost]
        ready = [run for run in todo if tries[run.number] <= RESTARTS]
        harmless = [run for run in ready if run.number not in lost]  # one that dies may take others with it
        ready = harmless or ready
        if ready:
            for run in ready:
                tries[run.number] += 1
                if run.number in lost:
                    log.warning("run %d %s; it is started again", run.number, states[run.number].why)
            record(folder, *(run.noted("waiting") for run in ready))
            why = _start(folder, ready, context, master)
            if why and all(read_run(folder, run.number) == run.noted("waiting") for run in ready):
                record(folder, *(replace(run.noted("failed"), why=f"was not started: {why}") for run in ready))
        elif any(states[run.number].state == "running" for run in runs):
            time.sleep(PAUSE)
        else:
            never = [run for run in todo if run.number not in lost]
            record(folder, *(replace(run.noted("failed"), why="stopped before its end") for run in never))
            return


def _has_config(folder: Path, number: int, text: str) -> bool:
    try:
        return config_text(folder, number) == text
    except UserError:
        return False  # missing or damaged: written anew


def _is_finished(run: SweepRun, verbs: Sequence[str]) -> bool:
    """Whether the run is done and its training still lies there; whoever removes that wants it anew."""
    return run.state == "done" and ("train" not in verbs or is_whole(Path(run.folder)))


def _start(folder: Path, runs: Sequence[PlannedRun], context: HydraContext, master: DictConfig) -> str:
    """Hand the runs to their launchers, those with the same settings together; the words of a launcher that broke."""
    words = []
    for settings, group in _by_launcher(runs):
        config = deepcopy(master)
        with open_dict(config):
            config.hydra.launcher = settings
            config.hydra.overrides.hydra = settings_of_jobs(folder)
            config.hydra.job.config_name = None
        began = time.time()
        offer_devices(settings["_target_"])
        elsewhere = settings["_target_"].endswith(LAUNCHERS)
        try:
            launcher = Plugins.instance().instantiate_launcher(context, job, config)
            with signals.deferred(partial(stop_runs, folder)) if elsewhere else nullcontext():
                launcher.launch([[f"+run={run.number}"] for run in group], initial_job_idx=group[0].number)
        except Exception as error:  # one that waits for its jobs breaks at the first that died
            if signals.stopping() is not None:
                raise
            words.append(for_people((str(error).strip().splitlines() or [type(error).__name__])[0]))
            log.debug("%s", error)
            if settings["_target_"].endswith("SlurmLauncher"):
                _outlast(folder / ".submitit", began)
    return "; ".join(words)


def _by_launcher(runs: Sequence[PlannedRun]) -> Iterator[tuple[dict[str, Any], list[PlannedRun]]]:
    """Runs with the same launcher, for Slurm in parts that fit into an array job each."""
    groups: dict[str, list[PlannedRun]] = {}
    for run in runs:
        groups.setdefault(json.dumps(run.composed.launcher, sort_keys=True, default=str), []).append(run)
    for group in groups.values():
        settings, most = group[0].composed.launcher, len(group)
        if settings["_target_"].endswith("SlurmLauncher"):
            most = min(most, largest_array() or most)
        if most < len(group):
            parts = -(-len(group) // most)
            log.info(
                "Slurm takes arrays of %d jobs here (MaxArraySize); %d runs are submitted as %d arrays, one after the "
                "other",
                *(most, len(group), parts),
            )
        for begin in range(0, len(group), most):
            yield settings, group[begin : begin + most]


def _outlast(jobs: Path, began: float) -> None:
    """Wait until every Slurm job that was submitted since then has ended, also those that are queued."""
    from submitit import SlurmJob

    submitted = [path.parent.name for path in jobs.glob("*/*_submitted.pkl") if path.stat().st_mtime >= began - 1]
    for name in submitted:
        SlurmJob(folder=jobs / "%j", job_id=name).wait()
