"""Damaged rows are listed with their reasons, and stop the command where they are too many."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from ppd_lightning.data import quarantine
from ppd_lightning.data.parquet_files import ParquetFiles
from ppd_lightning.data.pickapic_rows import UNUSABLE_SCHEMA
from ppd_lightning.errors import UserError


def write(folder: Path, table: pa.Table, rows: int) -> None:
    quarantine.write(folder, table, rows, 0.05, ParquetFiles("nowhere"), None)


def unusable(*rows: tuple[str, int, int, str]) -> pa.Table:
    return pa.Table.from_pylist([dict(zip(UNUSABLE_SCHEMA.names, row, strict=True)) for row in rows], UNUSABLE_SCHEMA)


def test_a_few_are_listed_in_order_and_warned_of(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    rows = [("b", 0, 1, "no_user"), ("a", 2, 0, "no_user"), ("a", 1, 7, "damaged_image")]
    write(tmp_path, unusable(*rows), 60)
    table = pq.read_table(tmp_path / quarantine.FILE)
    assert [tuple(row.values()) for row in table.to_pylist()] == sorted(rows)
    assert (
        "3 of 60 rows cannot be used (no user 2, damaged image 1; the first is row 7 of row group 1 of a)"
        in caplog.text
    )


def test_too_many_stop_the_command_and_are_listed_all_the_same(tmp_path: Path) -> None:
    rows = [("a", 0, number, "unclear_label") for number in range(6)]
    with pytest.raises(UserError, match=r"6 of 100 rows .*unclear label 6.*more than data\.max_unusable=0\.05 allows"):
        write(tmp_path, unusable(*rows), 100)
    assert len(pq.read_table(tmp_path / quarantine.FILE)) == 6
    write(tmp_path, unusable(*rows[:5]), 100)
    assert len(pq.read_table(tmp_path / quarantine.FILE)) == 5


def test_a_row_with_two_reasons_is_one_row(tmp_path: Path) -> None:
    rows = [("a", 0, 0, "damaged_image"), ("a", 0, 0, "no_user")]
    write(tmp_path, unusable(*rows), 20)
    assert len(pq.read_table(tmp_path / quarantine.FILE)) == 2


def test_none_are_an_empty_table(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    write(tmp_path, unusable(), 100)
    assert len(pq.read_table(tmp_path / quarantine.FILE)) == 0
    assert not caplog.text
