"""A sweep that is stopped stops its runs in other processes, and no further one begins."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from pathlib import Path

from ppd_lightning.storage.sweep_table import SweepRun, read_runs, record
from ppd_lightning.sweeps.stopping import stop_runs

RUN = """
import sys, time
from dataclasses import replace
from pathlib import Path
from ppd_lightning import signals
from ppd_lightning.storage.leases import Lease
from ppd_lightning.storage.sweep_table import read_run, record
folder = Path(sys.argv[1])
run = replace(read_run(folder, 0), state="running", lease=str(folder / "run.lease"))
try:
    with signals.answering(single=True), Lease(folder / "run.lease"):
        record(folder, run)
        time.sleep(60)
except signals.Stopped as stop:
    record(folder, replace(run, state="stopped", why=f"stopped by {stop.name}"))
"""


def test_its_runs_are_stopped_by_its_signal_and_others_wait_on(tmp_path: Path) -> None:
    record(tmp_path, SweepRun(0, {}, "a", "waiting"), SweepRun(1, {}, "b", "waiting"), SweepRun(2, {}, "c", "done"))
    process = subprocess.Popen([sys.executable, "-c", RUN, str(tmp_path)])
    until = time.monotonic() + 60
    while read_runs(tmp_path)[0].state != "running":
        assert time.monotonic() < until
        time.sleep(0.02)
    stop_runs(tmp_path, signal.SIGTERM)
    assert process.wait(30) == 0
    assert [(run.state, run.why) for run in read_runs(tmp_path)] == [
        ("stopped", "stopped by SIGTERM"),
        ("waiting", ""),
        ("done", ""),
    ]
