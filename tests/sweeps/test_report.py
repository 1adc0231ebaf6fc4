"""`ppd report` on sweeps that were noted by hand."""

from __future__ import annotations

import os
from html.parser import HTMLParser
from pathlib import Path

import pytest
from matplotlib.axes import Axes

from ppd_lightning.commands import report
from ppd_lightning.config.compose import compose
from ppd_lightning.errors import UserError
from ppd_lightning.reports.sweep_section import sweep_drawing
from ppd_lightning.storage.sweep_table import Sweep, SweepRun, record, write_sweep

BETAS = ("0.1", "0.5", "2", "10")
RATE, LOSS = "evaluate.win_rate.unseen.rate", "train.validation/loss"


def runs() -> list[SweepRun]:
    made = []
    for number, (beta, mode) in enumerate((beta, mode) for beta in BETAS for mode in ("real", "synthetic")):
        numbers = {RATE: 0.5 + 0.04 * number, LOSS: 0.7 - 0.02 * number, "train.steps": 5.0}
        made.append(SweepRun(number, {"objective.beta": beta, "mode": mode}, f"runs/{number}", "done", numbers=numbers))
    return [*made[:-1], SweepRun(7, {"objective.beta": "10", "mode": "synthetic"}, "runs/7", "failed", "<no> & data")]


def sweep(output: Path, name: str = "abc") -> Path:
    folder = output / "sweeps" / name
    write_sweep(folder, Sweep(["train", "evaluate"], ["objective.beta=0.1,0.5,2,10", "mode=real,synthetic"]))
    record(folder, *runs())
    return folder


def test_the_page_is_one_file_with_every_run_and_a_panel_for_each_number_and_swept_key(tmp_path: Path) -> None:
    folder = sweep(tmp_path)
    summary = report.run(compose([f"output={tmp_path}"]))
    assert summary["page"] == str(folder / "report.html")
    assert summary["runs"] == {"done": 7, "failed": 1, "running": 0, "stopped": 0, "waiting": 0}
    assert summary["best"] == {"run": 6, "folder": "runs/6", RATE: 0.74, "objective.beta": "10", "mode": "real"}
    text = (folder / "report.html").read_text()
    assert text.count("<svg") == 4, "two numbers that vary by two keys"
    assert text.count("<tr") == 1 + 8
    assert "&lt;no&gt; &amp; data" in text
    assert "http" not in text
    assert len(list((folder / "figures").iterdir())) == 3 * 4
    HTMLParser().feed(text)


def test_the_best_is_by_the_number_and_in_the_direction_that_were_asked_for(tmp_path: Path) -> None:
    sweep(tmp_path)
    lowest = report.run(compose([f"output={tmp_path}", f"report.metric={LOSS}", "report.goal=minimize"]))
    highest = report.run(compose([f"output={tmp_path}", f"report.metric={LOSS}"]))
    assert (lowest["best"]["run"], highest["best"]["run"]) == (6, 0)


def test_a_number_that_nobody_measured_is_reported_with_those_that_there_are(tmp_path: Path) -> None:
    sweep(tmp_path)
    with pytest.raises(UserError, match=r"report\.metric: no run has measured train\.los \(they have evaluate"):
        report.run(compose([f"output={tmp_path}", "report.metric=train.los"]))


def test_the_newest_sweep_is_meant_unless_one_is_named(tmp_path: Path) -> None:
    old, new = sweep(tmp_path, "old"), sweep(tmp_path, "new")
    os.utime(old / "runs.csv", (0, 0))
    assert report.run(compose([f"output={tmp_path}"]))["page"] == str(new / "report.html")
    assert report.run(compose([f"output={tmp_path}", f"report.of=[{old}]"]))["page"] == str(old / "report.html")


def test_no_sweep_at_all_and_a_folder_that_is_none_are_reported(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"report\.of: .* holds no sweep yet"):
        report.run(compose([f"output={tmp_path}"]))
    with pytest.raises(UserError, match=r"is no sweep's folder"):
        report.run(compose([f"output={tmp_path}", f"report.of=[{tmp_path}]"]))


def test_numbers_are_on_a_logarithmic_axis_and_words_side_by_side() -> None:
    def axes(key: str) -> Axes:
        return sweep_drawing(key, RATE, runs(), None).figure.axes[0]

    beta, mode = axes("objective.beta"), axes("mode")
    assert (beta.get_xscale(), mode.get_xscale()) == ("log", "linear")
    assert [label.get_text() for label in beta.get_xticklabels()] == ["0.1", "0.5", "2", "10"]
    assert [label.get_text() for label in mode.get_xticklabels()] == ["real", "synthetic"]
    dots = [line for line in beta.lines if line.get_marker() == "o"]
    assert sorted(zip(*dots[0].get_data(), strict=True))[0] == (0.1, 0.5)
    means = beta.lines[0]
    assert list(means.get_xdata()) == [0.1, 0.5, 2, 10]
    assert list(means.get_ydata()) == pytest.approx([0.52, 0.6, 0.68, 0.74])
