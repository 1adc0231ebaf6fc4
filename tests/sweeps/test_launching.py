"""What becomes of the runs of a sweep when some fail, die, or are finished or under way already."""

from __future__ import annotations

import errno
import json
import os
from collections.abc import Callable, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pytest

from ppd_lightning.cli import main
from ppd_lightning.config.root import Config
from ppd_lightning.errors import UserError
from ppd_lightning.storage.finished_run import mark_finished
from ppd_lightning.storage.leases import this_process
from ppd_lightning.storage.sweep_table import SweepRun, read_runs, record
from ppd_lightning.sweeps import job, launching, slurm
from ppd_lightning.sweeps.launching import PlannedRun

BETAS = (1.0, 2.0, 3.0)
Started = list[float]


@pytest.fixture(autouse=True)
def _no_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(launching, "PAUSE", 0.01)


def sweep(output: Path, *further: str) -> int:
    return main(["validate", "-m", "objective.beta=1,2,3", f"output={output}", *further])


def states(output: Path) -> list[tuple[str, str]]:
    return [(run.state, run.why) for run in runs_of(output)]


def runs_of(output: Path) -> list[SweepRun]:
    [folder] = (output / "sweeps").iterdir()
    return read_runs(folder)


def learning(monkeypatch: pytest.MonkeyPatch, fails: Callable[[Config], None] = lambda config: None) -> Started:
    """From here on a verb only notes that it was run, and fails as it is told to."""
    started: Started = []

    def learn(verb: str, config: Config) -> dict[str, Any]:
        started.append(config.objective.beta)
        fails(config)
        return {"score": config.objective.beta}

    monkeypatch.setattr(job, "run_verb", learn)
    return started


def failing(error: BaseException) -> Callable[[Config], None]:
    def fail(config: Config) -> None:
        if config.objective.beta == 2:
            raise error

    return fail


def test_the_same_command_again_runs_what_is_not_finished_and_nothing_else(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    started = learning(monkeypatch, failing(ZeroDivisionError("by zero")))
    assert sweep(tmp_path) == 1
    assert started == [1, 2, 3]
    assert states(tmp_path) == [("done", ""), ("failed", "ZeroDivisionError: by zero"), ("done", "")]
    started = learning(monkeypatch)
    assert sweep(tmp_path) == 0
    assert started == [2]
    assert states(tmp_path) == [("done", "")] * 3
    assert sweep(tmp_path) == 0
    assert started == [2]


def test_another_launcher_and_its_settings_go_on_with_the_same_sweep(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    learning(monkeypatch)
    sweep(tmp_path)
    started = learning(monkeypatch)
    pytest.importorskip("hydra_plugins.hydra_joblib_launcher")
    assert sweep(tmp_path, "hydra/launcher=joblib", "hydra.launcher.n_jobs=1") == 0
    assert started == []


@pytest.mark.parametrize(
    ("error", "why", "code"),
    [
        (UserError("data: nothing there"), "data: nothing there", 2),
        (SystemExit(1), "ended with exit code 1", 1),
        (ZeroDivisionError("by zero"), "ZeroDivisionError: by zero", 1),
        (OSError(errno.EIO, "", "/a"), "/a: the device failed to read or write; look at the disk and the mount", 1),
    ],
)
def test_one_failed_run_does_not_end_the_others(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, error: BaseException, why: str, code: int
) -> None:
    started = learning(monkeypatch, failing(error))
    assert sweep(tmp_path) == code
    assert started == [1, 2, 3]
    assert states(tmp_path)[1] == ("failed", why)


@pytest.mark.parametrize("error", [KeyboardInterrupt(), SystemExit(-1)], ids=["by hand", "by submitit"])
def test_a_run_that_is_stopped_says_so_and_the_same_command_goes_on(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, error: BaseException
) -> None:
    learning(monkeypatch, failing(error))
    if isinstance(error, SystemExit):
        with pytest.raises(SystemExit):
            sweep(tmp_path)
    else:
        assert sweep(tmp_path) == 130
    left = "waiting" if isinstance(error, SystemExit) else "stopped"  # submitit queues it again
    assert [state for state, _ in states(tmp_path)] == ["done", left, "waiting"]
    started = learning(monkeypatch)
    assert sweep(tmp_path) == 0
    assert started == [2, 3]


def dying(monkeypatch: pytest.MonkeyPatch, times: int) -> Started:
    """From here on run 1 dies without a word, so many times, and takes the launcher with it."""
    started = learning(monkeypatch)
    left = [times]
    start = launching._start

    def broken(folder: Path, runs: Sequence[PlannedRun], *rest: Any) -> str:
        dies = [run for run in runs if run.number == 1 and left[0]]
        if not dies:
            return start(folder, runs, *rest)
        left[0] -= 1
        record(folder, replace(dies[0].noted("running"), lease=str(folder / "nobody"), holder="process 1 on a machine"))
        return "a worker died"

    monkeypatch.setattr(launching, "_start", broken)
    return started


def test_what_died_without_a_word_and_what_it_kept_from_starting_is_started_again(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    started = dying(monkeypatch, times=launching.RESTARTS)
    assert sweep(tmp_path) == 0
    assert sorted(started) == [1, 2, 3]


def test_a_run_that_always_dies_has_failed_in_the_end(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    dying(monkeypatch, times=99)
    assert sweep(tmp_path) == 1
    assert states(tmp_path) == [("done", ""), ("failed", "died without a word (process 1 on a machine)"), ("done", "")]


def test_a_launcher_that_starts_nothing_is_reported_and_not_tried_again(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    tried = []

    def broken(*_: object) -> object:
        tried.append(1)
        raise RuntimeError("there is no sbatch\nhere")

    monkeypatch.setattr(launching.Plugins, "instantiate_launcher", broken)
    assert sweep(tmp_path) == 1
    assert states(tmp_path) == [("failed", "was not started: there is no sbatch")] * 3
    assert len(tried) == 1
    assert "run 2 failed: was not started: there is no sbatch" in capsys.readouterr().out


def test_a_run_that_another_command_has_under_way_is_waited_for(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    learning(monkeypatch, failing(KeyboardInterrupt()))
    sweep(tmp_path)
    [folder] = (tmp_path / "sweeps").iterdir()
    run = read_runs(folder)[1]
    lease = tmp_path / "elsewhere.lease"
    lease.write_text(json.dumps(asdict(replace(this_process(), host="another machine"))))
    under_way = replace(run, state="running", why="", lease=str(lease))
    record(folder, under_way)
    pauses = []

    def sleep(seconds: float) -> None:
        pauses.append(seconds)
        record(folder, replace(under_way, state="done"))

    started = learning(monkeypatch)
    monkeypatch.setattr(launching.time, "sleep", sleep)
    assert sweep(tmp_path) == 0
    assert started == [3]
    assert pauses == [0.01]


def test_a_trained_run_whose_training_was_removed_is_trained_anew(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def train(verb: str, config: Config) -> dict[str, Any]:
        folder = Path(launching.run_folder(config))
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "summary.json").write_text("{}")
        mark_finished(folder)
        started.append(config.seed)
        return {}

    started: list[int] = []
    monkeypatch.setattr(job, "run_verb", train)
    words = ["train", "-m", "seed=0,1", f"output={tmp_path}"]
    assert main(words) == 0
    os.remove(Path(runs_of(tmp_path)[1].folder) / ".done")
    assert main(words) == 0
    assert started == [0, 1, 1]


def test_a_sweep_larger_than_slurms_arrays_is_submitted_in_parts(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    pytest.importorskip("hydra_plugins.hydra_submitit_launcher")
    (tmp_path / "bin").mkdir()
    scontrol = tmp_path / "bin/scontrol"
    scontrol.write_text("#!/bin/sh\necho 'MailProg = /bin/true'; echo 'MaxArraySize            = 2'\n")
    scontrol.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}:{os.environ['PATH']}")
    slurm.largest_array.cache_clear()
    submitted: list[int] = []

    class Launcher:
        def launch(self, overrides: Sequence[Sequence[str]], initial_job_idx: int) -> None:
            submitted.append(len(overrides))
            for run in runs_of(tmp_path / "out")[initial_job_idx : initial_job_idx + len(overrides)]:
                record(next((tmp_path / "out/sweeps").iterdir()), replace(run, state="done"))

    monkeypatch.setattr(launching.Plugins, "instantiate_launcher", lambda *_: Launcher())
    try:
        assert sweep(tmp_path / "out", "hydra/launcher=submitit_slurm") == 0
    finally:
        slurm.largest_array.cache_clear()
    assert submitted == [2, 1]
