"""A sweep on a real Slurm, with what clusters do to jobs: one is preempted, one loses a process without a word."""

from __future__ import annotations

import json
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
from tests.distributed.rank_process import ranks
from tests.slurm.cluster import Cluster, missing
from tests.training import tiny_world

from ppd_lightning.config.compose import compose
from ppd_lightning.config.folders import run_folder
from ppd_lightning.storage.leases import holder_of
from ppd_lightning.storage.sweep_table import SweepRun, numbers_of, read_runs

pytestmark = [pytest.mark.long, pytest.mark.slurm, pytest.mark.skipif(bool(missing()), reason=missing())]

BETAS = ("0.5", "1", "2", "4")
RANKS = 2
STEPS, CHECKPOINT_EVERY = 120, 10
SECONDS = 900
"""The most that a part of the test may take on a slow machine."""


@pytest.fixture
def cluster() -> Iterator[Cluster]:
    folder = Path(tempfile.mkdtemp(prefix="slurm-"))  # short, for the sockets in it
    with Cluster(folder) as running:
        yield running
    shutil.rmtree(folder, ignore_errors=True)


def settings(world: Path, output: Path, beta: str) -> list[str]:
    """A run of two ranks in a world of its own."""
    if not (output / "data").exists():
        shutil.copytree(world / "out/data", output / "data")
    trainer = {"devices": RANKS, "max_steps": STEPS, "checkpoint_every": CHECKPOINT_EVERY, "log_every": 20}
    further = [f"trainer.{key}={value}" for key, value in trainer.items()]
    return tiny_world.overrides(world, output, *further, f"objective.beta={beta}")


def command(world: Path, output: Path) -> list[str]:
    """Four runs, which two nodes of four CPUs hold, and nothing else."""
    launcher = ("=one_node", ".gpus_per_node=null", ".cpus_per_task=1")
    slurm = [f"hydra{'/' if text.startswith('=') else '.'}launcher{text}" for text in launcher]
    words = [*settings(world, output, ",".join(BETAS)), *slurm]
    return [sys.executable, "-m", "ppd_lightning", "train", "-m", *words]


def test_a_preempted_and_a_killed_run_end_as_if_nothing_had_happened(tmp_path: Path, cluster: Cluster) -> None:
    world = tiny_world.make(tmp_path / "world")
    words = command(world, tmp_path / "rough")
    with (tmp_path / "log").open("w") as log:
        sweep = subprocess.Popen(words, env=cluster.environment, stdout=log, stderr=subprocess.STDOUT)
        try:
            await_(lambda: len(started(tmp_path / "rough")) == len(BETAS), sweep)
            cluster.run("sbatch", "--partition=urgent", "--ntasks=2", "--output=/dev/null", "--wrap=sleep 3")
            await_(lambda: bool(restarted(cluster)), sweep)
            preempted = set(restarted(cluster))
            victim = next(
                run for run in started(tmp_path / "rough") if not any(f"{job}," in run.holder for job in preempted)
            )
            holder = holder_of(Path(victim.lease))
            assert holder is not None
            os.kill(holder.pid, signal.SIGKILL)
            assert sweep.wait(SECONDS) == 0, (tmp_path / "log").read_text()
        finally:
            sweep.kill()

    assert f"run {victim.number} died without a word" in (tmp_path / "log").read_text()
    again = restarted(cluster)
    assert preempted <= set(again)
    assert set(again.values()) == {1}, "one party alone queues a job again"
    rough = read_runs(next((tmp_path / "rough/sweeps").iterdir()))
    assert [(run.overrides["objective.beta"], run.state) for run in rough] == [(beta, "done") for beta in BETAS]
    for run in rough:
        words = settings(world, tmp_path / "calm", run.overrides["objective.beta"])
        calm = run_folder(compose(words))
        assert ranks([words] * RANKS, tmp_path, seconds=SECONDS) == [""] * RANKS
        summary = json.loads((calm / "summary.json").read_text())
        assert outcome(run.numbers) == outcome(numbers_of(summary, "train."))
        expected, found = (load_file(folder / "adapter.safetensors") for folder in (calm, Path(run.folder)))
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


def outcome(numbers: dict[str, float]) -> dict[str, float]:
    """What a run measured, without what depends on the time that it took."""
    return {name: number for name, number in numbers.items() if "second" not in name}


def await_(holds: Callable[[], bool], sweep: subprocess.Popen[bytes]) -> None:
    end = time.monotonic() + SECONDS
    while not holds():
        assert sweep.poll() is None, "the sweep ended before it was disturbed"
        assert time.monotonic() < end
        time.sleep(0.5)
