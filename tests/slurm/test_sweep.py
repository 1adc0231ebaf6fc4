"""A sweep on a real Slurm, with what clusters do to jobs: one is preempted, one loses a process without a word."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from tests.slurm.cluster import Cluster, missing
from tests.training import tiny_world

from ppd_lightning.run.claims import owner_of
from ppd_lightning.run.sweep_table import SweepRun, read_runs

pytestmark = [pytest.mark.long, pytest.mark.slurm, pytest.mark.skipif(bool(missing()), reason=missing())]

BETAS = ("0.5", "1", "2", "4")
RANKS = 2
STEPS, CHECKPOINT_EVERY = 200, 10
SECONDS = 900
"""The most that a part of the test may take on a slow machine."""


@pytest.fixture
def cluster() -> Iterator[Cluster]:
    folder = Path(tempfile.mkdtemp(prefix="slurm-"))  # short, for the sockets in it
    with Cluster(folder) as running:
        yield running
    shutil.rmtree(folder, ignore_errors=True)


def command(world: Path, output: Path) -> list[str]:
    """Four runs of two ranks, which two nodes of four CPUs hold, and nothing else."""
    settings = (
        "hydra/launcher=one_node",
        "hydra.launcher.gpus_per_node=null",
        "hydra.launcher.cpus_per_task=1",
        f"trainer.devices={RANKS}",
        f"trainer.max_steps={STEPS}",
        f"trainer.checkpoint_every={CHECKPOINT_EVERY}",
        f"objective.beta={','.join(BETAS)}",
    )
    words = tiny_world.overrides(world, output, *settings)
    shutil.copytree(world / "out/data", output / "data")
    return [sys.executable, "-m", "ppd_lightning", "train", "-m", *words]


def test_a_preempted_and_a_killed_run_end_as_if_nothing_had_happened(tmp_path: Path, cluster: Cluster) -> None:
    world = tiny_world.make(tmp_path / "world")
    subprocess.run(command(world, tmp_path / "calm"), env=cluster.environment, check=True, timeout=SECONDS)
    words = command(world, tmp_path / "rough")
    with (tmp_path / "log").open("w") as log:
        sweep = subprocess.Popen(words, env=cluster.environment, stdout=log, stderr=subprocess.STDOUT)
        try:
            await_(lambda: len(started(tmp_path / "rough")) == len(BETAS), sweep)
            cluster.run("sbatch", "--partition=urgent", "--ntasks=2", "--output=/dev/null", "--wrap=sleep 3")
            await_(lambda: bool(restarted(cluster)), sweep)
            preempted = set(restarted(cluster))
            victim = next(
                run for run in started(tmp_path / "rough") if not any(f"{job}," in run.owner for job in preempted)
            )
            owner = owner_of(Path(victim.claim))
            assert owner is not None
            os.kill(owner.pid, signal.SIGKILL)
            assert sweep.wait(SECONDS) == 0, (tmp_path / "log").read_text()
        finally:
            sweep.kill()

    assert f"run {victim.number} died without a word" in (tmp_path / "log").read_text()
    again = restarted(cluster)
    assert preempted <= set(again)
    assert set(again.values()) == {1}, "one party alone queues a job again"
    calm, rough = (read_runs(next((tmp_path / name / "sweeps").iterdir())) for name in ("calm", "rough"))
    assert [run.state for run in rough] == ["done"] * len(BETAS)
    for one, other in zip(calm, rough, strict=True):
        assert one.overrides["objective.beta"] == other.overrides["objective.beta"]
        assert outcome(one) == outcome(other)
        expected, found = (load_file(Path(run.folder) / "adapter.safetensors") for run in (one, other))
        assert all(torch.equal(weight, expected[name]) for name, weight in found.items())


def started(output: Path) -> list[SweepRun]:
    """The runs that are in the middle of their work: with a checkpoint, and under way."""
    runs = [run for folder in (output / "sweeps").glob("*") for run in read_runs(folder)]
    return [run for run in runs if run.state == "running" and list(Path(run.folder).glob("checkpoints/*.ckpt"))]


def restarted(cluster: Cluster) -> dict[str, int]:
    """The jobs that Slurm has queued again, and how often."""
    found = {}
    for line in cluster.run("scontrol", "--oneliner", "show", "job").splitlines():
        told = dict(part.partition("=")[::2] for part in line.split())
        if "ArrayTaskId" in told and int(told["Restarts"]):
            found[f"{told['ArrayJobId']}_{told['ArrayTaskId']}"] = int(told["Restarts"])
    return found


def outcome(run: SweepRun) -> dict[str, float]:
    """What the run measured, without what depends on the time that it took."""
    return {name: number for name, number in run.numbers.items() if "second" not in name}


def await_(holds: Callable[[], bool], sweep: subprocess.Popen[bytes]) -> None:
    end = time.monotonic() + SECONDS
    while not holds():
        assert sweep.poll() is None, "the sweep ended before it was disturbed"
        assert time.monotonic() < end
        time.sleep(0.5)
