"""Starts the ranks of a run on one machine.

Each is a process of `python -m module`; the command line is never read again, so it makes no difference whether the run
is one of a sweep. This process stays outside of the group, serves the address at which the ranks find each other, and
ends all when one fails.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Sequence
from contextlib import ExitStack, suppress
from tempfile import TemporaryFile
from typing import IO, Any

from torch.distributed import TCPStore  # type: ignore[attr-defined]

from ppd_lightning import signals
from ppd_lightning.errors import MachineError, UserError

GRACE = 10.0
"""Seconds that a rank has to end by itself."""
PAUSE = 0.1
"""Seconds between two looks at the processes."""

HOST = "127.0.0.1"

STOPPED = {code: number for number in map(int, signals.ANSWERED) for code in (128 + number, -number)}
"""Return codes of a rank that was asked to stop, also before it could answer, and the signals."""


def run_ranks(module: str, arguments: Sequence[str], count: int, threads: int | None = None) -> None:
    """Run `python -m module arguments... REPORT` as ranks 0 to `count` - 1, until all are done.

    REPORT is an open file in which a rank that fails leaves, as JSON, `faults` of a UserError, or `machine`, a fault of
    the machine, or `error`. A signal to this process is handed on to all, as a byte on their standard input, and they
    have the time of `signals.GRACE` to save. If whoever answers it comes back, they are started again.

    Raises:
        UserError: with the faults of all ranks.
        MachineError: a rank had one.
        Stopped: this process or a rank was asked to stop.
        RuntimeError: a rank failed in another way, or was killed.
    """
    while _stopped(module, arguments, count, threads):
        signals.act()


def _stopped(module: str, arguments: Sequence[str], count: int, threads: int | None) -> bool:
    """Run the ranks once; whether they ended because a signal came that waits to be acted on."""
    store = TCPStore(HOST, 0, is_master=True, wait_for_workers=False)  # on a free port that it holds
    shared = {
        "WORLD_SIZE": count,
        "LOCAL_WORLD_SIZE": count,
        "MASTER_ADDR": HOST,
        "MASTER_PORT": store.port,
        "TORCHELASTIC_USE_AGENT_STORE": True,
        "OMP_NUM_THREADS": threads or os.environ.get("OMP_NUM_THREADS") or max(1, (os.cpu_count() or 1) // count),
    }
    processes: list[subprocess.Popen[bytes]] = []
    with ExitStack() as opened, signals.deferred():
        reports = [opened.enter_context(TemporaryFile()) for _ in range(count)]  # without a name: nothing is left over
        try:
            for index, report in enumerate(reports):
                own = {name: str(value) for name, value in {**shared, "RANK": index, "LOCAL_RANK": index}.items()}
                processes.append(
                    subprocess.Popen(
                        [sys.executable, "-m", module, *arguments, str(report.fileno())],
                        env=os.environ | own,
                        pass_fds=[report.fileno()],
                        stdin=subprocess.PIPE,  # a rank ends when this closes, also when this process is killed
                        start_new_session=True,  # an interrupt of this process does not reach it
                    )
                )
            failed = _first_to_fail(processes)
        finally:
            _end(processes)
        if failed is not None:
            code = processes[failed].returncode
            if signals.asked() is not None and code in STOPPED:
                return True
            _raise(failed, code, [_read(report) for report in reports])
    return False


def _first_to_fail(processes: Sequence[subprocess.Popen[bytes]]) -> int | None:
    """Wait for all, or for the first that fails: its index. One that was asked to stop fails when all have ended."""
    handed_on = False
    while True:
        number = signals.asked()
        if number is not None and not handed_on:
            handed_on = True
            _hand_on(number, processes)
        codes = [process.poll() for process in processes]
        stopped = [code in STOPPED for code in codes]
        for index, code in enumerate(codes):
            if code and not stopped[index]:
                return index
        if None not in codes:
            return stopped.index(True) if any(stopped) else None
        if any(stopped) and not handed_on:  # somebody else has signalled a rank; the others stop with it
            handed_on = True
            _hand_on(next(STOPPED[code] for code in codes if code in STOPPED), processes)
        time.sleep(PAUSE)


def _hand_on(number: int, processes: Sequence[subprocess.Popen[bytes]]) -> None:
    for process in processes:
        assert process.stdin is not None
        with suppress(OSError):
            process.stdin.write(bytes([number]))
            process.stdin.flush()


def _end(processes: Sequence[subprocess.Popen[bytes]]) -> None:
    """End all that still run; one that has not ended after the grace period is killed."""
    for process in processes:
        assert process.stdin is not None
        with suppress(OSError):
            process.stdin.close()
    until = time.monotonic() + GRACE + 5
    for process in processes:
        try:
            process.wait(max(0.0, until - time.monotonic()))
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _read(report: IO[bytes]) -> dict[str, Any]:
    report.seek(0)
    try:
        content: dict[str, Any] = json.loads(report.read())
    except (OSError, ValueError):
        return {}
    return content


def _raise(index: int, code: int, reports: Sequence[dict[str, Any]]) -> None:
    faults = dict.fromkeys(fault for report in reports for fault in report.get("faults", ()))
    if faults:
        raise UserError(faults)
    machine = [report["machine"] for report in reports if "machine" in report]
    if machine:
        raise MachineError(machine[0])
    if code in STOPPED:
        raise signals.Stopped(STOPPED[code])
    ended = f"was killed by signal {-code}" if code < 0 else f"ended with exit code {code}"
    raise RuntimeError(f"rank {index} of {len(reports)}: {reports[index].get('error', ended)}")
