from __future__ import annotations

import csv
from pathlib import Path

from ppd_lightning.storage.sweep_table import SweepRun, numbers_of, read_runs, record


def test_the_table_holds_every_run_with_its_overrides_and_numbers(tmp_path: Path) -> None:
    record(tmp_path, SweepRun(0, {"seed": "0"}, "a", "waiting"), SweepRun(1, {"seed": "1", "x": "2"}, "b", "waiting"))
    record(tmp_path, SweepRun(1, {"seed": "1", "x": "2"}, "b", "done", numbers={"train.loss": 0.5}))
    record(tmp_path, SweepRun(0, {"seed": "0"}, "a", "failed", "no data, none", mistake=True))
    with (tmp_path / "runs.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    fixed = {"number": "0", "state": "failed", "folder": "a", "why": "no data, none"}
    assert rows[0] == {**fixed, "seed": "0", "x": "", "train.loss": ""}
    fixed = {"number": "1", "state": "done", "folder": "b", "why": ""}
    assert rows[1] == {**fixed, "seed": "1", "x": "2", "train.loss": "0.5"}
    assert [run.number for run in read_runs(tmp_path)] == [0, 1]


def test_runs_are_in_the_order_of_their_numbers(tmp_path: Path) -> None:
    for number in (10_001, 2, 10):
        record(tmp_path, SweepRun(number, {}, "", "done"))
    assert [run.number for run in read_runs(tmp_path)] == [2, 10, 10_001]


def test_only_finite_numbers_of_a_summary_count() -> None:
    summary = {"loss": 0.5, "n": 3, "ok": True, "name": "x", "bad": float("nan"), "rate": {"low": 0.1, "rows": [1]}}
    assert numbers_of(summary, "train.") == {"train.loss": 0.5, "train.n": 3, "train.rate.low": 0.1}
