"""A sweeper that chooses the values itself."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from ppd_lightning.cli import main
from ppd_lightning.config.folders import run_folder
from ppd_lightning.config.root import Config
from ppd_lightning.storage.finished_run import mark_finished
from ppd_lightning.storage.sweep_table import read_runs
from ppd_lightning.sweeps import job

pytest.importorskip("hydra_plugins.hydra_optuna_sweeper")

WORDS = ("train", "-m", "sweep=optuna", "experiment=emoji/ppd", "report.metric=train.score", "hydra.sweeper.n_trials=8")


def learn(verb: str, config: Config) -> dict[str, Any]:
    if config.optimizer.lr > 3e-3:
        raise ZeroDivisionError("diverged")
    run_folder(config).mkdir(parents=True, exist_ok=True)
    (run_folder(config) / "summary.json").write_text("{}")
    mark_finished(run_folder(config))
    return {"score": -((config.objective.beta - 1) ** 2)}


def test_optuna_chooses_and_a_failed_trial_ends_nothing(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(job, "run_verb", learn)
    assert main([*WORDS, f"output={tmp_path}"]) == 1
    [folder] = (tmp_path / "sweeps").iterdir()
    runs = read_runs(folder)
    assert [run.number for run in runs] == list(range(8))
    for run in runs:
        failed = float(run.overrides["optimizer.lr"]) > 3e-3
        assert run.state == ("failed" if failed else "done")
        assert 0.05 <= float(run.overrides["objective.beta"]) <= 5
    assert {run.state for run in runs} == {"failed", "done"}
    assert "best by train.score" in capsys.readouterr().out


def test_the_same_command_again_proposes_the_same_and_runs_what_had_failed(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(job, "run_verb", learn)
    main([*WORDS, f"output={tmp_path}"])
    [folder] = (tmp_path / "sweeps").iterdir()
    before = read_runs(folder)
    started: list[float] = []

    def relearn(verb: str, config: Config) -> dict[str, Any]:
        started.append(config.optimizer.lr)
        return learn(verb, config)

    monkeypatch.setattr(job, "run_verb", relearn)
    main([*WORDS, f"output={tmp_path}"])
    after = read_runs(folder)
    assert [run.overrides for run in after] == [run.overrides for run in before]
    assert started == [float(run.overrides["optimizer.lr"]) for run in before if run.state == "failed"]


def test_what_the_sweeper_could_choose_is_checked_before_it_begins(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(job, "run_verb", lambda verb, config: pytest.fail("a run started"))
    assert main([*WORDS, f"output={tmp_path}", "objective.drop_user=interval(0.5,1)"]) == 2
    assert "objective.drop_user: with 1 no example shows its user" in capsys.readouterr().err
