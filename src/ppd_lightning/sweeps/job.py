"""One run of a sweep, in whatever process a launcher starts it; it gets the run's number and reads the rest."""

from __future__ import annotations

import logging
from dataclasses import replace
from pathlib import Path

from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig

from ppd_lightning import signals
from ppd_lightning.commands.verbs import run_verb
from ppd_lightning.config.compose import read_config
from ppd_lightning.config.root import Config
from ppd_lightning.distributed.rank import current_rank
from ppd_lightning.endings import at_work, machine_fault
from ppd_lightning.errors import USER_MISTAKE, UserError
from ppd_lightning.logging_setup import lines_of_run, set_up_logging
from ppd_lightning.masking import for_people
from ppd_lightning.storage.leases import Lease, this_process
from ppd_lightning.storage.sweep_table import (
    SweepRun,
    config_file,
    config_text,
    numbers_of,
    read_run,
    read_runs,
    read_sweep,
    record,
)
from ppd_lightning.sweeps.devices import take_devices

log = logging.getLogger(__name__)


def job(composed: DictConfig) -> None:
    """What Hydra's launcher calls, here or in another process: `run` of the composition is the number.

    In another process a signal stops this run alone: the sweep goes on, and the run is noted as stopped.
    """
    set_up_logging()
    folder, number = Path(HydraConfig.get().sweep.dir), int(composed["run"])
    with signals.answering(single=True) as alone, lines_of_run(number, len(read_runs(folder))):
        try:
            do_run(folder, number)
        except signals.Stopped:
            if not alone:
                raise


def do_run(folder: Path, number: int) -> None:
    """Do the verbs of one run and note what became of it; what it fails of is noted, not raised.

    Of several processes that train the run together, the first notes and the others only work.
    """
    config_text(folder, number)  # refuses a damaged file, which may be a configuration all the same
    verbs, config = read_sweep(folder).verbs, read_config(config_file(folder, number))
    if not current_rank().is_first:
        for verb in verbs:
            run_verb(verb, config)
        return
    run = read_run(folder, number)
    assert run is not None
    lease = Path(f"{run.folder}.lease").absolute()
    with Lease(lease):
        run = read_run(folder, number)  # another process may have finished it while this one waited
        assert run is not None
        if run.state in ("done", "stopped"):  # or the sweep was stopped before this run could begin
            return
        log.info("%s", " ".join(f"{key}={value}" for key, value in run.overrides.items()))
        run = replace(run, state="running", why="", mistake=False, holder=str(this_process()), lease=str(lease))
        record(folder, run)
        take_devices(config.trainer.accelerator, config.trainer.devices)
        record(folder, _outcome(folder, run, verbs, config))


def _outcome(folder: Path, run: SweepRun, verbs: list[str], config: Config) -> SweepRun:
    numbers: dict[str, float] = {}
    try:
        for verb in verbs:
            at_work(verb, config)
            numbers.update(numbers_of(run_verb(verb, config), f"{verb}."))
    except UserError as error:
        why, mistake = "; ".join(error.faults), True
        log.error("run %d failed: %s", run.number, why)
    except KeyboardInterrupt as end:
        _note_stop(folder, run, end)
        raise
    except SystemExit as end:
        if end.code not in (1, 2):  # those are a verb's own words
            record(folder, replace(run, state="waiting", why="stopped before its end"))  # submitit may queue it again
            raise
        why, mistake = f"ended with exit code {end.code}", end.code == 2
    except Exception as error:
        stop = signals.stopping()
        if stop is not None:
            _note_stop(folder, run, stop)
            raise stop from error
        fault = machine_fault(error)
        if fault is not None:
            why, mistake = fault.sentence, fault.code == USER_MISTAKE
            log.error("run %d failed: %s", run.number, why)
        else:
            why, mistake = for_people(f"{type(error).__name__}: {error}"), False
            log.exception("run %d failed", run.number)
    else:
        return replace(run, state="done", numbers=numbers)
    return replace(run, state="failed", why=why, mistake=mistake, numbers=numbers)


def _note_stop(folder: Path, run: SweepRun, end: KeyboardInterrupt) -> None:
    by = f" by {end.name}" if isinstance(end, signals.Stopped) else ""
    kept = f" ({signals.saved()})" if signals.saved() else ""
    record(folder, replace(run, state="stopped", why=f"stopped{by}{kept}; the same command goes on from there"))
