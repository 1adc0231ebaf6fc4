from __future__ import annotations

import csv
from pathlib import Path

import pytest
import yaml

from ppd_lightning.errors import UserError
from ppd_lightning.storage.sweep_table import (
    SweepRun,
    config_file,
    config_text,
    numbers_of,
    read_runs,
    record,
    write_config,
)


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


def test_a_run_that_is_noted_wrongly_is_left_out_with_a_word(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    record(tmp_path, SweepRun(0, {}, "a", "done", numbers={"loss": 0.25}), SweepRun(1, {}, "b", "done"))
    file = tmp_path / "runs" / "0000.json"
    for damaged in (file.read_text().replace("0.25", "0.26"), "", "[]", '{"number": 0}', "[" * 100_000):
        caplog.clear()
        file.write_text(damaged)
        assert [run.number for run in read_runs(tmp_path)] == [1]
        assert f"{file}: " in caplog.text
    write_config(tmp_path, 0, "")
    file.unlink()
    caplog.clear()
    assert [run.number for run in read_runs(tmp_path)] == [1]
    assert f"{file}: missing or damaged" in caplog.text


def test_a_configuration_is_what_was_written_or_refused(tmp_path: Path) -> None:
    text = "seed: 0  # a comment\nname: ä\n"
    write_config(tmp_path, 3, text)
    assert config_text(tmp_path, 3) == text
    assert yaml.safe_load(config_file(tmp_path, 3).read_text()) == {"seed": 0, "name": "ä"}
    whole = config_file(tmp_path, 3).read_bytes()
    flipped = [whole[:at] + bytes([whole[at] ^ 1]) + whole[at + 1 :] for at in range(len(whole))]
    for damaged in (*flipped, *(whole[:end] for end in range(len(whole))), bytes(len(whole)), bytes(99) + whole[99:]):
        config_file(tmp_path, 3).write_bytes(damaged)
        with pytest.raises(UserError, match=r"0003\.yaml: .*damaged .*; run the sweep's command again"):
            config_text(tmp_path, 3)
