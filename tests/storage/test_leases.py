from __future__ import annotations

import errno
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from dataclasses import asdict
from pathlib import Path

import pytest

from ppd_lightning.storage import leases
from ppd_lightning.storage.leases import Holder, Lease, holder_of

HOLD = "import sys, time; from pathlib import Path; from ppd_lightning.storage.leases import Lease\n"
HOLD += "with Lease(Path(sys.argv[1])): print('held', flush=True); time.sleep(60)"


def test_a_lease_names_its_holder_and_is_gone_with_the_block(tmp_path: Path) -> None:
    path = tmp_path / "folder/run.lease"
    with Lease(path):
        assert holder_of(path) == Holder(socket.gethostname(), os.getpid())
    assert holder_of(path) is None
    assert list(path.parent.iterdir()) == []


def test_a_holder_names_its_job(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SLURM_ARRAY_JOB_ID", "7")
    monkeypatch.setenv("SLURM_ARRAY_TASK_ID", "3")
    with Lease(tmp_path / "run.lease"):
        assert str(holder_of(tmp_path / "run.lease")).startswith("job 7_3, process ")


def test_a_lease_of_a_killed_process_of_this_machine_can_be_acquired_at_once(tmp_path: Path) -> None:
    path = tmp_path / "run.lease"
    holder = subprocess.Popen([sys.executable, "-c", HOLD, str(path)], stdout=subprocess.PIPE)
    assert holder.stdout is not None
    assert holder.stdout.readline() == b"held\n"
    assert holder_of(path) == Holder(socket.gethostname(), holder.pid)
    holder.send_signal(signal.SIGKILL)
    time.sleep(0.2)
    assert holder_of(path) is None, "a zombie, which nobody has waited for yet, is dead"
    holder.wait()
    assert path.exists()
    with Lease(path, pause=0.01):
        assert holder_of(path) == Holder(socket.gethostname(), os.getpid())


def test_a_lease_of_another_machine_expires(tmp_path: Path) -> None:
    path = tmp_path / "run.lease"
    path.write_text(json.dumps(asdict(Holder("another machine", 1))))
    assert holder_of(path) == Holder("another machine", 1)
    long_ago = time.time() - leases.EXPIRY - 1
    os.utime(path, (long_ago, long_ago))
    assert holder_of(path) is None


def test_a_living_holder_renews_its_lease(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(leases, "RENEWAL", 0.01)
    with Lease(tmp_path / "run.lease") as lease:
        os.utime(lease.path, (0, 0))
        end = time.monotonic() + 10
        while lease.path.stat().st_mtime == 0:
            assert time.monotonic() < end
            time.sleep(0.01)


def test_a_second_process_waits_until_the_first_releases_it(tmp_path: Path) -> None:
    path, order = tmp_path / "run.lease", []

    def second() -> None:
        with Lease(path, pause=0.01):
            order.append("second")

    with Lease(path):
        thread = threading.Thread(target=second)
        thread.start()
        time.sleep(0.1)
        order.append("first")
    thread.join(10)
    assert order == ["first", "second"]


@pytest.mark.parametrize("skew", [3600, -3600])
def test_clocks_that_differ_by_an_hour_kill_nobody_and_keep_nobody_alive(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, skew: float
) -> None:
    """What counts is the time of the file system, as a file tells that is written now."""
    alive, dead = tmp_path / "alive.lease", tmp_path / "dead.lease"
    for path in (alive, dead):
        path.write_text(json.dumps(asdict(Holder("another machine", 1))))
    os.utime(dead, (time.time() - 2 * leases.EXPIRY,) * 2)
    now = time.time
    monkeypatch.setattr(leases.time, "time", lambda: now() + skew)
    assert holder_of(alive) == Holder("another machine", 1)
    assert holder_of(dead) is None
    assert sorted(os.listdir(tmp_path)) == ["alive.lease", "dead.lease"]


def test_a_lease_is_no_program(tmp_path: Path) -> None:
    with Lease(tmp_path / "run.lease"):
        assert (tmp_path / "run.lease").stat().st_mode & 0o111 == 0


@pytest.mark.parametrize("locks", [True, False], ids=["with locks", "without locks, as on some network file systems"])
def test_of_many_that_replace_a_dead_holder_one_at_a_time_holds_the_lease(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, locks: bool
) -> None:
    def refuse(*_: object) -> None:
        raise OSError(errno.ENOLCK, "no locks available")

    if not locks:
        monkeypatch.setattr(leases.fcntl, "flock", refuse)
    path = tmp_path / "run.lease"
    path.write_text(json.dumps(asdict(Holder("another machine", 1))))
    os.utime(path, (0, 0))
    inside, most = [], []

    def take() -> None:
        with Lease(path, pause=0.001):
            inside.append(1)
            most.append(len(inside))
            time.sleep(0.01)
            inside.pop()

    threads = [threading.Thread(target=take) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)
    assert most == [1] * 8
    assert list(tmp_path.iterdir()) == []


def test_a_lease_that_was_renewed_in_the_future_is_a_living_ones_only_if_it_is_renewed_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A clock was set back."""
    path = tmp_path / "run.lease"
    path.write_text(json.dumps(asdict(Holder("another machine", 1))))
    tomorrow = time.time() + 86400
    os.utime(path, (tomorrow, tomorrow))
    monkeypatch.setattr(leases, "RENEWAL", 0.05)
    assert holder_of(path) is None
    renewal = threading.Timer(0.02, os.utime, (path,))
    renewal.start()
    assert holder_of(path) == Holder("another machine", 1)
    renewal.join()
