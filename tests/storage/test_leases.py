from __future__ import annotations

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

from ppd_lightning.storage import leases as claims
from ppd_lightning.storage.leases import Claim, Owner, owner_of

HOLD = "import sys, time; from pathlib import Path; from ppd_lightning.storage.leases import Claim\n"
HOLD += "with Claim(Path(sys.argv[1])): print('held', flush=True); time.sleep(60)"


def test_a_claim_names_its_owner_and_is_gone_with_the_block(tmp_path: Path) -> None:
    path = tmp_path / "folder/run.owner"
    with Claim(path):
        assert owner_of(path) == Owner(socket.gethostname(), os.getpid())
    assert owner_of(path) is None
    assert list(path.parent.iterdir()) == []


def test_the_owner_says_of_which_job_it_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SLURM_ARRAY_JOB_ID", "7")
    monkeypatch.setenv("SLURM_ARRAY_TASK_ID", "3")
    with Claim(tmp_path / "run.owner"):
        assert str(owner_of(tmp_path / "run.owner")).startswith("job 7_3, process ")


def test_a_killed_owner_is_found_out_at_once_on_its_machine_and_its_claim_can_be_taken(tmp_path: Path) -> None:
    path = tmp_path / "run.owner"
    holder = subprocess.Popen([sys.executable, "-c", HOLD, str(path)], stdout=subprocess.PIPE)
    assert holder.stdout is not None
    assert holder.stdout.readline() == b"held\n"
    assert owner_of(path) == Owner(socket.gethostname(), holder.pid)
    holder.send_signal(signal.SIGKILL)
    time.sleep(0.2)
    assert owner_of(path) is None, "a zombie, which nobody has waited for yet, is dead"
    holder.wait()
    assert path.exists()
    with Claim(path, pause=0.01):
        assert owner_of(path) == Owner(socket.gethostname(), os.getpid())


def test_an_owner_elsewhere_is_dead_after_a_long_silence(tmp_path: Path) -> None:
    path = tmp_path / "run.owner"
    path.write_text(json.dumps(asdict(Owner("another machine", 1))))
    assert owner_of(path) == Owner("another machine", 1)
    long_ago = time.time() - claims.SILENCE - 1
    os.utime(path, (long_ago, long_ago))
    assert owner_of(path) is None


def test_a_living_owner_keeps_its_claim_fresh(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(claims, "BEAT", 0.01)
    with Claim(tmp_path / "run.owner") as claim:
        os.utime(claim.path, (0, 0))
        end = time.monotonic() + 10
        while claim.path.stat().st_mtime == 0:
            assert time.monotonic() < end
            time.sleep(0.01)


def test_a_second_owner_waits_until_the_first_lets_go(tmp_path: Path) -> None:
    path, order = tmp_path / "run.owner", []

    def second() -> None:
        with Claim(path, pause=0.01):
            order.append("second")

    with Claim(path):
        thread = threading.Thread(target=second)
        thread.start()
        time.sleep(0.1)
        order.append("first")
    thread.join(10)
    assert order == ["first", "second"]


def test_of_many_that_bury_a_dead_owner_one_at_a_time_holds_the_claim(tmp_path: Path) -> None:
    path = tmp_path / "run.owner"
    path.write_text(json.dumps(asdict(Owner("another machine", 1))))
    os.utime(path, (0, 0))
    inside, most = [], []

    def take() -> None:
        with Claim(path, pause=0.001):
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
