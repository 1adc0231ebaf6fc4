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
from contextlib import suppress
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from torch.distributed import TCPStore  # type: ignore[attr-defined]

from ppd_lightning.errors import UserError

GRACE = 10.0
"""Seconds that a rank has to end by itself."""
PAUSE = 0.1
"""Seconds between two looks at the processes."""

HOST = "127.0.0.1"


def run_ranks(module: str, arguments: Sequence[str], count: int, threads: int | None = None) -> None:
    """Run `python -m module arguments... REPORT` as ranks 0 to `count` - 1, until all are done.

    REPORT is the JSON file in which a rank that fails leaves `faults`, of a UserError, or `error`.

    Raises:
        UserError: with the faults of all ranks.
        RuntimeError: a rank failed in another way, or was killed.
    """
    store = TCPStore(HOST, 0, is_master=True, wait_for_workers=False)  # on a free port that it holds
    shared = {
        "WORLD_SIZE": count,
        "LOCAL_WORLD_SIZE": count,
        "MASTER_ADDR": HOST,
        "MASTER_PORT": store.port,
        "TORCHELASTIC_USE_AGENT_STORE": True,
        "OMP_NUM_THREADS": threads or os.environ.get("OMP_NUM_THREADS") or max(1, (os.cpu_count() or 1) // count),
    }
    with TemporaryDirectory(prefix="ppd-ranks-") as folder:
        reports = [Path(folder) / f"{index}.json" for index in range(count)]
        processes: list[subprocess.Popen[bytes]] = []
        try:
            for index, report in enumerate(reports):
                own = {name: str(value) for name, value in {**shared, "RANK": index, "LOCAL_RANK": index}.items()}
                processes.append(
                    subprocess.Popen(
                        [sys.executable, "-m", module, *arguments, str(report)],
                        env=os.environ | own,
                        stdin=subprocess.PIPE,  # a rank ends when this closes, also when this process is killed
                        start_new_session=True,  # an interrupt of this process does not reach it
                    )
                )
            failed = _first_to_fail(processes)
        finally:
            _end(processes)
        if failed is not None:
            _raise(failed, processes[failed].returncode, [_read(report) for report in reports])


def _first_to_fail(processes: Sequence[subprocess.Popen[bytes]]) -> int | None:
    """Wait for all, or for the first that fails: its index."""
    while True:
        codes = [process.poll() for process in processes]
        for index, code in enumerate(codes):
            if code:
                return index
        if all(code == 0 for code in codes):
            return None
        time.sleep(PAUSE)


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


def _read(report: Path) -> dict[str, Any]:
    try:
        content: dict[str, Any] = json.loads(report.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return content


def _raise(index: int, code: int, reports: Sequence[dict[str, Any]]) -> None:
    faults = dict.fromkeys(fault for report in reports for fault in report.get("faults", ()))
    if faults:
        raise UserError(faults)
    ended = f"was killed by signal {-code}" if code < 0 else f"ended with exit code {code}"
    raise RuntimeError(f"rank {index} of {len(reports)}: {reports[index].get('error', ended)}")
