"""`ppd select` on sweeps that were noted by hand."""

from __future__ import annotations

import json
import shlex
from math import sqrt
from pathlib import Path

import pytest

from ppd_lightning.commands import select
from ppd_lightning.config.compose import as_yaml, compose
from ppd_lightning.errors import UserError
from ppd_lightning.storage.sweep_table import Sweep, SweepRun, config_file, record, write_sweep

RATE = "evaluate.win_rate.unseen.rate"


def sweep(output: Path, runs: list[tuple[str, str, str, dict[str, float]]], *, state: str = "done") -> Path:
    """A sweep of (objective, beta, seed, numbers); the last run is in the state."""
    folder = output / "sweeps" / "abc"
    write_sweep(folder, Sweep(["train", "evaluate"], ["..."]))
    for number, (objective, beta, seed, numbers) in enumerate(runs):
        overrides = {"objective": objective, "objective.beta": beta, "seed": seed}
        config = compose([f"{key}={value}" for key, value in overrides.items()])
        config_file(folder, number).parent.mkdir(parents=True, exist_ok=True)
        config_file(folder, number).write_text(as_yaml(config))
        last = number == len(runs) - 1
        record(folder, SweepRun(number, overrides, f"runs/{number}", state if last else "done", numbers=numbers))
    return folder


def test_the_best_mean_over_seeds_is_chosen_not_the_best_run(tmp_path: Path) -> None:
    values = {("0.1", "0"): 0.9, ("0.1", "1"): 0.5, ("2", "0"): 0.75, ("2", "1"): 0.8}
    folder = sweep(tmp_path, [("ppd", beta, seed, {RATE: value}) for (beta, seed), value in values.items()])
    told = select.run(compose([f"output={tmp_path}"]))
    assert told == json.loads((folder / "selected.json").read_text())
    chosen = told["selected"]["ppd"]
    assert (chosen["run"], chosen["runs"], chosen["metric"]) == ("runs/2", ["runs/2", "runs/3"], RATE)
    assert chosen["value"] == pytest.approx(0.775)
    assert chosen["standard_error_over_seeds"] == pytest.approx(0.05 / sqrt(2) / sqrt(2))
    assert chosen["overrides"]["objective.beta"] == "2"
    (other,) = chosen["runners_up"]
    assert (other["value"], other["swept"]) == (0.7, {"objective.beta": "0.1"})
    assert (folder / "selected.yaml").read_text() == config_file(folder, 2).read_text()


def test_where_no_image_was_judged_the_preference_accuracy_decides(tmp_path: Path) -> None:
    numbers = [
        {"evaluate.preference_accuracy.unseen.rate": unseen, "evaluate.preference_accuracy.seen.rate": seen}
        for unseen, seen in ((0.6, 0.7), (0.65, 0.6))
    ]
    sweep(tmp_path, [("ppd", beta, "0", own) for beta, own in zip(("0.1", "2"), numbers, strict=True)])
    chosen = select.run(compose([f"output={tmp_path}"]))["selected"]["ppd"]
    assert chosen["metric"] == "evaluate.preference_accuracy.unseen.rate"
    assert chosen["swept"] == {"objective.beta": "2"}


def test_the_overrides_that_are_printed_give_the_chosen_configuration(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = sweep(tmp_path, [("ppd", "0.1", "0", {RATE: 0.5}), ("ppd", "2", "0", {RATE: 0.6})])
    select.run(compose([f"output={tmp_path}"]))
    (line,) = [line for line in capsys.readouterr().out.splitlines() if line.startswith("go on with: ppd ")]
    overrides = [word for word in shlex.split(line) if "=" in word]
    assert as_yaml(compose(overrides)) == (folder / "selected.yaml").read_text()


def test_each_objective_has_its_own_choice_by_its_own_score(tmp_path: Path) -> None:
    """As in the paper: beta for each method by the mean reward of its images, whatever the win rates say."""
    own = "evaluate.mean_own_score"
    runs = [
        (objective, beta, "0", {f"{own}.{objective}": score, f"{own}.base": 0.0, RATE: 1 - score})
        for objective, beta, score in (
            ("ppd", "0.1", 0.2),
            ("ppd", "2", 0.3),
            ("diffusion_dpo", "0.1", 0.15),
            ("diffusion_dpo", "2", 0.1),
        )
    ]
    folder = sweep(tmp_path, runs)
    chosen = select.run(compose([f"output={tmp_path}"]))["selected"]
    assert {name: (one["run"], one["metric"]) for name, one in chosen.items()} == {
        "ppd": ("runs/1", f"{own}.ppd"),
        "diffusion_dpo": ("runs/2", f"{own}.diffusion_dpo"),
    }
    assert (folder / "selected-ppd.yaml").exists()
    assert (folder / "selected-diffusion_dpo.yaml").exists()


def test_the_interval_that_a_single_run_measured_is_reported(tmp_path: Path) -> None:
    ends = {RATE: 0.6, RATE.replace("rate.unseen.rate", "rate.unseen.low"): 0.5, "evaluate.win_rate.unseen.high": 0.7}
    sweep(tmp_path, [("ppd", "0.1", "0", ends)])
    assert select.run(compose([f"output={tmp_path}"]))["selected"]["ppd"]["interval"] == [0.5, 0.7]


def test_a_sweep_that_is_not_finished_is_refused_with_the_runs_that_lack(tmp_path: Path) -> None:
    folder = sweep(tmp_path, [("ppd", "0.1", "0", {RATE: 0.5}), ("ppd", "2", "0", {})], state="failed")
    with pytest.raises(UserError, match=r"1 of 2 runs are done; finish it") as failure:
        select.run(compose([f"output={tmp_path}"]))
    assert failure.value.faults[1:] == ["run 1 failed"]
    assert not (folder / "selected.json").exists()
    told = select.run(compose([f"output={tmp_path}", "report.unfinished=true"]))
    assert told["selected"]["ppd"]["run"] == "runs/0"


def test_the_lowest_is_chosen_where_less_is_better(tmp_path: Path) -> None:
    loss = "train.validation/loss"
    sweep(tmp_path, [("ppd", "0.1", "0", {loss: 0.5}), ("ppd", "2", "0", {loss: 0.4})])
    told = select.run(compose([f"output={tmp_path}", f"report.metric={loss}", "report.goal=minimize"]))
    assert told["selected"]["ppd"]["run"] == "runs/1"


def test_nothing_measured_and_several_folders_are_reported(tmp_path: Path) -> None:
    folder = sweep(tmp_path, [("ppd", "0.1", "0", {})])
    with pytest.raises(UserError, match="no run of ppd has measured a number to choose by"):
        select.run(compose([f"output={tmp_path}"]))
    with pytest.raises(UserError, match=r"report\.of: a run is selected from one sweep, and 2 folders"):
        select.run(compose([f"output={tmp_path}", f"report.of=[{folder},{folder}]"]))
