"""`ppd runs` finds every run and sweep of an output folder again, and says what each is and how it stands."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from tests.reports.made import made_evaluation, made_run

from ppd_lightning.cli import main
from ppd_lightning.commands import runs
from ppd_lightning.config.compose import compose
from ppd_lightning.storage.leases import Lease
from ppd_lightning.storage.sweep_table import Sweep, SweepRun, record, write_sweep

PPD = ["experiment=emoji/ppd", "trainer.max_steps=100"]


def test_each_run_says_what_it_is_how_it_stands_and_what_it_measured(tmp_path: Path) -> None:
    config, first = made_run(tmp_path, PPD)
    made_evaluation(config, first, config.generation.user_guidance, gain=1.0)
    _, second = made_run(tmp_path, [*PPD, "objective.beta=0.5"], finished=False)
    _, other = made_run(tmp_path, ["experiment=emoji/sft"], finished=False)
    for age, folder in enumerate((first, second, other)):
        os.utime(folder / "config.yaml", (age, age))
    found = runs.run(compose([f"output={tmp_path}"]))["runs"]
    assert list(found) == [first.name, second.name, other.name]
    beta = config.objective.beta
    assert [row["differs in"] for row in found.values()] == [f"objective.beta={beta}", "objective.beta=0.5", ""]
    assert [row["objective"] for row in found.values()] == ["ppd", "ppd", "sft"]
    assert [row["state"] for row in found.values()][:2] == ["finished", "unfinished at step 75 of 100"]
    assert found[first.name]["figures"].keys() == {"win rate seen", "win rate unseen"}
    with Lease(second / "training.lease"):
        assert runs.run(compose([f"output={tmp_path}"]))["runs"][second.name]["state"] == "running at step 75 of 100"


def test_piped_tables_are_whole_and_the_best_run_of_a_sweep_is_named(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("COLUMNS", raising=False)
    _, folder = made_run(tmp_path, PPD)
    (tmp_path / "runs/damaged").mkdir()
    (tmp_path / "runs/damaged/config.yaml").write_text("a: [")
    write_sweep(tmp_path / "sweeps/1234", Sweep(["train"], ["objective.beta=1,2"]))
    accuracy = {1: 0.6, 2: 0.7}
    record(
        tmp_path / "sweeps/1234",
        *(
            SweepRun(
                beta - 1,
                {"objective.beta": str(beta)},
                str(folder),
                "done",
                numbers={"train.validation/implicit_accuracy": accuracy[beta]},
            )
            for beta in (1, 2)
        ),
    )
    assert main(["runs", f"output={tmp_path}"]) == 0
    out = capsys.readouterr().out
    for words in (folder.name, "objective.beta=1,2", "2 done", "run 1, train.validation/implicit_accuracy 0.7"):
        assert any(words in line for line in out.splitlines()), words
    assert "damaged/config.yaml, line 2: cannot be read" in out
    assert out.splitlines()[-1] == f"runs: {tmp_path}"


def test_a_folder_without_runs_has_none(tmp_path: Path) -> None:
    assert runs.run(compose([f"output={tmp_path}"]))["runs"] == {}
