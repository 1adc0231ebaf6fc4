"""A training that is stopped by a signal saves its step and goes on to the bytes of one that was not."""

from __future__ import annotations

import json
import multiprocessing
import os
import shutil
import signal
import sys
from pathlib import Path

import pytest
from tests.training.test_resume import outcome
from tests.training.tiny_world import CHECKPOINT_EVERY, LOG_EVERY, overrides

from ppd_lightning.cli import main
from ppd_lightning.config.compose import compose
from ppd_lightning.config.folders import run_folder
from ppd_lightning.training.module import PPDModule
from ppd_lightning.training.stopping import NOTE

PROCESSES = multiprocessing.get_context("forkserver")
PROCESSES.set_forkserver_preload(["tests.training.killed_run"])


def signalled(settings: list[str], step: int, number: int, errors: str) -> None:
    """Run the command; a signal comes in the middle of a step."""
    backward = PPDModule.on_after_backward

    def counted(module: PPDModule) -> None:
        backward(module)
        if module.global_step == step:
            os.kill(os.getpid(), number)

    PPDModule.on_after_backward = counted
    with open(errors, "w") as sys.stderr:
        code = main(["train", "validate", *settings])
    os._exit(code)


@pytest.mark.parametrize(
    ("step", "number"),
    [
        pytest.param(LOG_EVERY, signal.SIGTERM, id="any"),
        pytest.param(CHECKPOINT_EVERY - 1, signal.SIGUSR1, id="validated", marks=pytest.mark.long),
    ],
)
def test_it_saves_the_step_and_goes_on_to_the_same_end(world: Path, tmp_path: Path, step: int, number: int) -> None:
    """Figures that were not logged yet are in the checkpoint: this step is none of those that log."""
    shutil.copytree(world / "out" / "data", tmp_path / "data")
    settings = overrides(world, tmp_path)
    folder, errors = run_folder(compose(settings)), tmp_path / "errors"
    process = PROCESSES.Process(target=signalled, args=(settings, step, number, str(errors)))
    process.start()
    process.join()
    assert process.exitcode == 128 + number
    name = signal.Signals(number).name
    assert [line for line in errors.read_text().splitlines() if line.startswith("ppd:")] == [
        f"ppd: stopped by {name} in train: step {step + 1} is saved in {folder}; the same command goes on from there"
    ]
    assert "Traceback" not in errors.read_text()
    assert json.loads((folder / NOTE).read_text()) == {"signal": name, "step": step + 1}
    assert main(["train", *settings]) == 0
    assert not (folder / NOTE).exists()
    expected, found = outcome(overrides(world, world / "out")), outcome(settings)
    assert found[1:] == expected[1:]
    assert all((weight == expected[0][name]).all() for name, weight in found[0].items())
