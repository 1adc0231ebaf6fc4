from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from ppd_lightning.training.logged_rows import read_metrics
from ppd_lightning.training.metrics_csv import MetricsCsv

BATCH = (None, None, None, 0)


def trainer(step: int, **figures: float) -> SimpleNamespace:
    named = {name.replace("__", "/"): torch.tensor(value) for name, value in figures.items()}
    return SimpleNamespace(
        accumulate_grad_batches=1,
        max_steps=99,
        global_step=step,
        callback_metrics=named,
        is_global_zero=True,
        sanity_checking=False,
    )


def rows(path: Path) -> list[dict[str, str]]:
    return read_metrics(path)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Steps 2 to 8, a validation at 4 and 8."""
    writer = MetricsCsv(tmp_path / "run" / "metrics.csv", 0, 2)
    for step in range(1, 9):
        now = trainer(step, train__loss=1 / step, validation__loss=10.0 + step)
        writer.on_train_batch_end(now, *BATCH)
        if step % 4 == 0:
            writer.on_validation_end(now, None)
    return tmp_path / "run" / "metrics.csv"


def test_a_row_is_a_logged_step(path: Path) -> None:
    assert path.read_text().splitlines() == [
        "step,train/loss,validation/loss",
        "2,0.5,",
        "4,0.25,14",
        "6,0.16666667,",
        "8,0.125,18",
    ]


def test_lines_end_plainly_also_those_of_an_older_file(path: Path) -> None:
    assert b"\r" not in path.read_bytes()
    path.write_bytes(path.read_bytes().replace(b"\n", b"\r\n"))
    resumed = MetricsCsv(path, 6, 2)
    resumed.on_fit_start(trainer(6), None)
    resumed.on_train_batch_end(trainer(8, train__loss=0.125), *BATCH)
    assert b"\r" not in path.read_bytes()
    assert [row["step"] for row in rows(path)] == ["2", "4", "6", "8"]


def test_each_row_is_on_disk_at_once(tmp_path: Path) -> None:
    writer = MetricsCsv(tmp_path / "metrics.csv", 0, 1)
    for step in range(1, 4):
        writer.on_train_batch_end(trainer(step, train__loss=1.0), *BATCH)
        assert [int(row["step"]) for row in rows(tmp_path / "metrics.csv")] == list(range(1, step + 1))


def test_a_resumed_run_keeps_the_rows_of_the_steps_that_it_keeps(path: Path) -> None:
    writer = MetricsCsv(path, 4, 2)
    writer.on_train_batch_end(trainer(6, train__loss=3.0), *BATCH)
    assert rows(path) == [
        {"step": "2", "train/loss": "0.5"},
        {"step": "4", "train/loss": "0.25", "validation/loss": "14"},
        {"step": "6", "train/loss": "3"},
    ]


def test_a_row_that_was_cut_short_is_left_out(path: Path) -> None:
    path.write_text(path.read_text()[:-8])
    assert [row["step"] for row in rows(path)] == ["2", "4", "6"]
    MetricsCsv(path, 6, 2).on_train_batch_end(trainer(8, train__loss=3.0), *BATCH)
    assert [row["step"] for row in rows(path)] == ["2", "4", "6", "8"]


def test_a_new_figure_gets_a_column(path: Path) -> None:
    MetricsCsv(path, 8, 2).on_train_batch_end(trainer(10, train__loss=1.0, train__new=2.0), *BATCH)
    assert rows(path)[-1] == {"step": "10", "train/loss": "1", "train/new": "2"}
    assert "train/new" not in rows(path)[0]


def test_other_processes_and_sanity_checks_write_nothing(tmp_path: Path) -> None:
    writer = MetricsCsv(tmp_path / "metrics.csv", 0, 1)
    second = trainer(1, train__loss=1.0)
    second.is_global_zero = False
    writer.on_train_batch_end(second, *BATCH)
    checking = trainer(0, validation__loss=1.0)
    checking.sanity_checking = True
    writer.on_validation_end(checking, None)
    assert not (tmp_path / "metrics.csv").exists()
