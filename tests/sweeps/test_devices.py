"""Which GPUs the runs of one machine see; no GPU is needed for it."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from ppd_lightning.sweeps.devices import OFFERED, offer_devices, take_devices

RUN = """
import os, sys
from ppd_lightning.sweeps.devices import take_devices
take_devices(sys.argv[1], int(sys.argv[2]))
print(os.environ.get("CUDA_VISIBLE_DEVICES", "all"), flush=True)
sys.stdin.read()
"""
Start = Callable[..., subprocess.Popen[str]]


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    """Starts the process of a run, which lives on; `sees` is what it may use."""
    running: list[subprocess.Popen[str]] = []

    def begin(gpus: str, devices: int = 1, accelerator: str = "auto") -> subprocess.Popen[str]:
        environment = {name: value for name, value in os.environ.items() if name != "CUDA_VISIBLE_DEVICES"}
        environment |= {OFFERED: gpus, "TMPDIR": str(tmp_path)}
        words = [sys.executable, "-c", RUN, accelerator, str(devices)]
        running.append(
            subprocess.Popen(words, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        )
        return running[-1]

    yield begin
    for process in running:
        process.kill()
        process.wait()


def sees(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    return process.stdout.readline().strip()


def test_runs_at_the_same_time_have_gpus_of_their_own_and_share_them_evenly_when_there_are_too_few(
    start: Start,
) -> None:
    together = [start("0,1,2") for _ in range(3)]
    assert sorted(map(sees, together)) == ["0", "1", "2"]
    assert sorted(sees(start("0,1,2")) for _ in range(3)) == ["0", "1", "2"]


def test_the_gpu_of_a_run_that_was_killed_is_free_again(start: Start) -> None:
    runs = {sees(process): process for process in (start("4,7"), start("4,7"))}
    assert set(runs) == {"4", "7"}
    runs["7"].kill()
    runs["7"].wait()
    assert sees(start("4,7")) == "7"


def test_a_run_on_several_devices_takes_as_many_and_none_that_another_has(start: Start) -> None:
    gpus = "0,1,2,3,4"
    assert [sees(start(gpus, devices=count)) for count in (1, 2, 2)] == ["0", "2,3", "0,1"]
    assert sees(start("0", devices=2)) == "0", "too few: the training says so"


def test_a_run_on_the_cpu_and_one_that_was_offered_none_are_left_alone(start: Start) -> None:
    assert sees(start("0,1", accelerator="cpu")) == "all"
    assert sees(start("")) == "all"


@pytest.mark.parametrize(
    ("launcher", "offered"),
    [("hydra_plugins.x.JoblibLauncher", "2,3"), ("hydra_plugins.x.LocalLauncher", "2,3"), ("x.SlurmLauncher", None)],
)
def test_the_gpus_that_the_command_may_use_are_offered_where_runs_share_a_machine(
    launcher: str, offered: str | None
) -> None:
    environment = {"CUDA_VISIBLE_DEVICES": "2,3", OFFERED: "9"}
    offer_devices(launcher, environment)
    assert environment.get(OFFERED) == offered


def test_without_a_gpu_none_is_offered(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("torch.cuda.device_count", lambda: 0)
    environment: dict[str, str] = {}
    offer_devices("x.JoblibLauncher", environment)
    assert not environment[OFFERED]
    take_devices("auto", 1, environment)
    assert "CUDA_VISIBLE_DEVICES" not in environment
