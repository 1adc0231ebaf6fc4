"""However many processes train a run, it is the same run; and they begin, agree and end together."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from tests.distributed.rank_process import ranks
from tests.training.tiny_world import CHECKPOINT_EVERY, STEPS, overrides

from ppd_lightning.commands import train
from ppd_lightning.config.compose import compose
from ppd_lightning.config.folders import run_folder
from ppd_lightning.distributed.group import Group, require_fitting
from ppd_lightning.distributed.rank import ALONE, Rank
from ppd_lightning.errors import MachineError, UserError
from ppd_lightning.training.checkpoints import last_checkpoint
from ppd_lightning.training.logged_rows import read_metrics

SETTINGS = ("trainer.batch_size=8", "trainer.micro_batch_size=2", "objective.drop_user=0.6")


def on(world: Path, output: Path, devices: int, *further: str) -> list[str]:
    if not (output / "data").exists():
        shutil.copytree(world / "out" / "data", output / "data")
    return overrides(world, output, *SETTINGS, f"trainer.devices={devices}", *further)


@pytest.fixture(scope="module")
def alone(world: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The run of one process; the micro-batches of two pairs, most of whose users are dropped, are often empty."""
    config = compose(on(world, tmp_path_factory.mktemp("alone"), 1))
    train.run(config)
    return run_folder(config)


def assert_same_run(found: Path, expected: Path) -> None:
    """Same weights, average, metrics and summary, but for rounding."""
    for kind in ("", "-ema"):
        ours, theirs = (load_file(folder / f"adapter{kind}.safetensors") for folder in (found, expected))
        assert ours.keys() == theirs.keys()
        for name, weight in ours.items():
            torch.testing.assert_close(
                weight, theirs[name], rtol=1e-3, atol=2e-5, msg=lambda why, n=name: f"{n}: {why}"
            )
    rows = [read_metrics(folder / "metrics.csv") for folder in (found, expected)]
    assert [row["step"] for row in rows[0]] == [row["step"] for row in rows[1]]
    for ours, theirs in zip(*rows, strict=True):
        assert ours.keys() == theirs.keys()
        for name, value in ours.items():
            if name not in ("train/pairs_per_second", "train/memory_gib"):
                assert float(value) == pytest.approx(float(theirs[name]), rel=2e-3, abs=2e-4), (ours["step"], name)
    summaries = [json.loads((folder / "summary.json").read_text()) for folder in (found, expected)]
    assert summaries[0].keys() == summaries[1].keys()
    assert summaries[0]["step0_loss"] == pytest.approx(summaries[1]["step0_loss"], abs=1e-6)


@pytest.mark.long  # two are started by the command below
@pytest.mark.parametrize("count", [2, 4])
def test_any_number_of_ranks_trains_the_same_adapter(alone: Path, world: Path, tmp_path: Path, count: int) -> None:
    settings = on(world, tmp_path, count)
    assert run_folder(compose(settings)).name == alone.name
    assert ranks([settings] * count, tmp_path) == [""] * count
    assert_same_run(run_folder(compose(settings)), alone)


@pytest.mark.long
@pytest.mark.parametrize("counts", [[2], [2, 4]])
def test_a_run_goes_on_with_another_number_of_ranks(
    alone: Path, world: Path, tmp_path: Path, counts: list[int]
) -> None:
    """Each is broken off after its checkpoint; then one rank alone takes a pair at once."""
    folder = run_folder(compose(on(world, tmp_path, 2)))
    for k, count in enumerate(counts, 1):
        ranks([on(world, tmp_path, count)] * count, tmp_path, steps=k * CHECKPOINT_EVERY + 1)
        assert torch.load(last_checkpoint(folder), weights_only=True)["global_step"] == k * CHECKPOINT_EVERY
    assert not (folder / ".done").exists()
    train.run(compose(on(world, tmp_path, 1, "trainer.micro_batch_size=1")))
    assert_same_run(folder, alone)


def test_ranks_of_different_configurations_stop_with_both_values(world: Path, tmp_path: Path) -> None:
    settings = on(world, tmp_path, 2)
    faults = ranks([[*settings, "objective.beta=0.5"], [*settings, "objective.beta=2.0", "seed=4"]], tmp_path)
    assert faults[0] == faults[1]
    assert "rank 1: its configuration is not that of rank 0" in faults[0]
    assert "objective.beta is 0.5 there and 2.0 here; seed is 0 there and 4 here" in faults[0]
    assert not list(tmp_path.glob("runs/*/checkpoints"))


def test_what_fails_on_one_rank_fails_on_all(world: Path, tmp_path: Path) -> None:
    settings = on(world, tmp_path, 2)
    shutil.rmtree(next((tmp_path / "data").glob("*/latents")))
    faults = ranks([settings] * 2, tmp_path)
    assert faults[0] == faults[1]
    assert "latents: this store is missing; run `ppd prepare`" in faults[0]


def test_the_command_starts_the_ranks_itself(
    alone: Path, world: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever the command line was: they read the configuration of the run's folder."""
    monkeypatch.setattr(sys, "argv", ["ppd", "train", "-m", "objective.beta=0.1,0.5"])
    config = compose(on(world, tmp_path, 2))
    summary = train.run(config)
    assert_same_run(run_folder(config), alone)
    assert summary == json.loads((run_folder(config) / "summary.json").read_text())
    assert "RANK" not in os.environ
    assert not torch.distributed.is_initialized()


@pytest.mark.long
def test_what_a_started_rank_finds_wrong_reaches_the_command(world: Path, tmp_path: Path) -> None:
    config = compose(on(world, tmp_path, 2))
    shutil.rmtree(next((tmp_path / "data").glob("*/latents")))
    with pytest.raises(UserError, match="latents: this store is missing"):
        train.run(config)


@pytest.mark.long
@pytest.mark.parametrize("who", ["a rank", "the command"])
def test_a_kill_ends_all_and_the_same_command_goes_on(alone: Path, world: Path, tmp_path: Path, who: str) -> None:
    settings = on(world, tmp_path, 2)
    command = [sys.executable, "-m", "ppd_lightning", "train", *settings]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    started = wait_for_ranks(process.pid, run_folder(compose(settings)))
    os.kill(started[1] if who == "a rank" else process.pid, signal.SIGKILL)
    assert process.wait(60) == (1 if who == "a rank" else -signal.SIGKILL)
    if who == "a rank":
        assert "rank 1 of 2: was killed by signal 9" in process.stderr.read()
    until = time.monotonic() + 30
    while any(is_running(pid) for pid in started) and time.monotonic() < until:
        time.sleep(0.1)
    assert not [pid for pid in started if is_running(pid)]
    assert not (run_folder(compose(settings)) / ".done").exists()
    train.run(compose(on(world, tmp_path, 1)))
    assert_same_run(run_folder(compose(settings)), alone)


@pytest.mark.long
@pytest.mark.parametrize("who", ["a rank", "the command"])
def test_a_signal_saves_the_step_on_all_and_the_same_command_goes_on(
    alone: Path, world: Path, tmp_path: Path, who: str
) -> None:
    settings = on(world, tmp_path, 2)
    folder = run_folder(compose(settings))
    process = subprocess.Popen(
        [sys.executable, "-m", "ppd_lightning", "train", *settings], stderr=subprocess.PIPE, text=True
    )
    started = wait_for_ranks(process.pid, folder)
    os.kill(started[1] if who == "a rank" else process.pid, signal.SIGTERM)
    assert process.wait(60) == 128 + signal.SIGTERM
    assert not [pid for pid in started if is_running(pid)]
    assert process.stderr is not None
    errors = process.stderr.read()
    assert "most recent call" not in errors
    [line] = [line for line in errors.splitlines() if line.startswith("ppd:")]
    step = json.loads((folder / "stopped.json").read_text())["step"]
    assert line.startswith(f"ppd: stopped by SIGTERM in train: step {step} is saved in {folder}; ")
    train.run(compose(on(world, tmp_path, 1)))
    assert_same_run(folder, alone)


def wait_for_ranks(parent: int, folder: Path) -> list[int]:
    """The processes that `parent` has started, once there is a checkpoint."""
    until = time.monotonic() + 300
    while last_checkpoint(folder) is None:
        assert time.monotonic() < until
        time.sleep(0.02)
    return [int(pid) for pid in Path(f"/proc/{parent}/task/{parent}/children").read_text().split()]


def is_running(pid: int) -> bool:
    try:
        return "\nState:\tZ" not in Path(f"/proc/{pid}/status").read_text()
    except OSError:
        return False


def test_a_wrong_number_of_processes_is_refused() -> None:
    require_fitting(Rank(3, 4, 1, 2), nodes=2, devices=2)
    with pytest.raises(UserError, match=r"trainer\.devices: 2 on 2 nodes are 4 processes, and 3 were started"):
        require_fitting(Rank(0, 3, 0, 3), nodes=2, devices=2)
    with pytest.raises(UserError, match=r"trainer\.nodes: 2 nodes need .* torchrun --nnodes=2 --nproc-per-node=2"):
        require_fitting(ALONE, nodes=2, devices=2)
    require_fitting(ALONE, nodes=1, devices=2)
    with pytest.raises(UserError, match=r"set trainer\.devices=8 trainer\.nodes=1"):
        require_fitting(Rank(0, 8, 0, 8), nodes=1, devices=1)


def test_a_batch_that_ranks_cannot_share_is_a_fault_of_the_configuration() -> None:
    with pytest.raises(UserError, match=r"trainer\.batch_size: 32 pairs cannot be shared equally by .*devices=3"):
        compose(["trainer=cpu", "trainer.devices=3"])


def test_alone_everything_is_as_without_ranks() -> None:
    group = Group(ALONE)
    assert group.gather("x") == ["x"]
    with pytest.raises(UserError, match="mine"), group.together():
        raise UserError("mine")
    with pytest.raises(ZeroDivisionError), group.together():
        raise ZeroDivisionError
    assert STEPS > 2 * CHECKPOINT_EVERY


def test_what_a_rank_lacks_is_a_fault_of_the_machine_on_all(monkeypatch: pytest.MonkeyPatch) -> None:
    first, second, sent = Group(Rank(0, 2, 0, 2)), Group(Rank(1, 2, 1, 2)), []
    monkeypatch.setattr(second, "gather", lambda own: sent.append(own) or [own])
    monkeypatch.setattr(first, "gather", lambda own: [own, *sent])
    with pytest.raises(MachineError, match=r"^no memory$"), second.together():
        raise MachineError("no memory")
    with pytest.raises(MachineError, match=r"^rank 1: no memory$"), first.together():
        pass
