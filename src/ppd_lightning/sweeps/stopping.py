"""A sweep that is stopped while its runs are at work in other processes of this machine."""

from __future__ import annotations

import os
import signal
import socket
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

from ppd_lightning.signals import GRACE, descendants
from ppd_lightning.storage.leases import holder_of
from ppd_lightning.storage.sweep_table import SweepRun, read_runs, record

TO_RUNS = signal.SIGUSR1
"""What stops a run: submitit answers SIGTERM and SIGUSR2 itself, and below a background job SIGINT is ignored."""

PAUSE = 0.1
"""Seconds between two looks at the runs."""


def stop_runs(folder: Path, number: int) -> None:
    """Let no further run of the sweep begin, stop those at work here, and wait until they have saved.

    Runs that had not begun wait again afterwards.

    Args:
        folder: the sweep's.
        number: of the signal that this process got, which is noted as theirs.
    """
    held: dict[int, SweepRun] = {}
    signalled: set[int] = set()
    until = time.monotonic() + GRACE + 5
    while time.monotonic() < until:
        runs = read_runs(folder)
        waiting = [run for run in runs if run.state == "waiting" and not run.lost]
        if waiting:
            held |= {run.number: run for run in waiting}
            record(folder, *(replace(run, state="stopped") for run in waiting))
        working = {process for run in runs if run.state == "running" and (process := _process_here(run))}
        working &= set(descendants(os.getpid()))
        for process in working - signalled:
            signalled.add(process)
            with suppress(OSError):
                os.kill(process, TO_RUNS)
        if not working and not waiting:
            break
        time.sleep(PAUSE)
    name = signal.Signals(number).name
    ended = [run for run in read_runs(folder) if run.state == "stopped"]
    record(
        folder, *(_waiting_again(run, held) or replace(run, why=run.why.replace(TO_RUNS.name, name)) for run in ended)
    )


def _waiting_again(run: SweepRun, held: Mapping[int, SweepRun]) -> SweepRun | None:
    """A run as it waited before it was held; None for one that had begun all the same, or was not held."""
    before = held.get(run.number)
    return before if before is not None and run == replace(before, state="stopped") else None


def _process_here(run: SweepRun) -> int | None:
    holder = holder_of(Path(run.lease))
    return holder.pid if holder is not None and holder.host == socket.gethostname() else None
