"""A killed and resumed run equals the uninterrupted one, bit for bit: real processes, killed for real."""

from __future__ import annotations

import json
import multiprocessing
import shutil
import signal
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from tests.training.killed_run import train_until
from tests.training.tiny_world import overrides

from ppd_lightning.commands import embed, prepare
from ppd_lightning.config.compose import compose
from ppd_lightning.config.folders import run_folder
from ppd_lightning.training.checkpoints import last_checkpoint
from ppd_lightning.training.logged_rows import read_metrics

PROCESSES = multiprocessing.get_context("forkserver")  # imports once; each process is forked from a clean one
PROCESSES.set_forkserver_preload(["tests.training.killed_run"])


def exit_code(*arguments: object) -> int | None:
    process = PROCESSES.Process(target=train_until, args=arguments)
    process.start()
    process.join()
    return process.exitcode


def outcome(settings: list[str]) -> tuple[dict, list, dict]:
    """Weights, metrics and summary of a finished run, without paths and times."""
    folder = run_folder(compose(settings))
    assert (folder / ".done").exists()
    metrics = read_metrics(folder / "metrics.csv")
    for row in metrics:
        del row["train/pairs_per_second"], row["train/memory_gib"]
    summary = json.loads((folder / "summary.json").read_text())
    for name in ("run", "seconds", "train/pairs_per_second", "train/memory_gib"):
        del summary[name]
    trained, average = (load_file(folder / f"adapter{kind}.safetensors") for kind in ("", "-ema"))
    return trained | {f"average {name}": weight for name, weight in average.items()}, metrics, summary


# Each list is one run that is killed again and again: when, at which call of that since it started, and the steps that
# are in its checkpoint then (it makes one after 6, 12, 18 and 20 of its 20 steps, each after a validation).
@pytest.mark.parametrize(
    "kills",
    [
        [
            ("in a step", 4, 0),
            ("right after a checkpoint", 1, 6),
            ("before a checkpoint is renamed", 1, 6),
        ],
        pytest.param(
            [
                ("in a validation", 1, 0),
                ("in a step", 30, 12),
                ("before the metrics of a step", 3, 12),
                ("after a validation", 1, 12),
                ("after the adapter", 1, 20),
            ],
            marks=pytest.mark.long,
        ),
    ],
    ids=["early", "late"],
)
def test_a_killed_run_goes_on_to_the_same_end(world: Path, tmp_path: Path, kills: list[tuple[str, int, int]]) -> None:
    shutil.copytree(world / "out" / "data", tmp_path / "data")
    settings = overrides(world, tmp_path)
    folder = run_folder(compose(settings))
    for moment, call, saved in kills:
        assert exit_code(settings, moment, call) == -signal.SIGKILL
        assert not (folder / ".done").exists()
        checkpoint = last_checkpoint(folder)
        steps = 0 if checkpoint is None else torch.load(checkpoint, weights_only=True)["global_step"]
        assert (moment, steps) == (moment, saved)
    assert exit_code(settings) == 0

    expected, found = outcome(overrides(world, world / "out")), outcome(settings)
    assert found[1:] == expected[1:]
    assert found[0].keys() == expected[0].keys()
    for name, weight in found[0].items():
        assert torch.equal(weight, expected[0][name]), name


@pytest.mark.long
def test_without_a_validation_a_checkpoint_comes_after_everything_of_its_step(world: Path, tmp_path: Path) -> None:
    """The moving average too has that step's weights in it."""
    runs = []
    for name in ("whole", "killed"):
        settings = overrides(world, tmp_path / name, "data.validation=0", "trainer.micro_batch_size=null")
        prepare.run(compose(settings))
        embed.run(compose(settings))
        if name == "killed":
            assert exit_code(settings, "right after a checkpoint", 2) == -signal.SIGKILL
        assert exit_code(settings) == 0
        runs.append(outcome(settings)[0])
    assert all(torch.equal(weight, runs[1][name]) for name, weight in runs[0].items())
