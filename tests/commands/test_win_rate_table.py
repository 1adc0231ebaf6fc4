"""The table of win rates: every rate of a summary, whole also where there is no terminal."""

from __future__ import annotations

import pytest

from ppd_lightning.commands.win_rate_table import print_win_rates

RATE = {"rate": 0.7292, "low": 0.58, "high": 0.92, "n": 24, "wins": 17, "losses": 6, "ties": 1, "decided": 0.7391}


def test_every_win_rate_is_a_row_of_uncut_columns(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delenv("COLUMNS", raising=False)
    long = "by somebody with a name that is longer than the width of many a terminal, " * 2
    summary = {
        "win_rate": {"seen": RATE, "unseen": RATE | {"rate": 0.5, "low": None, "high": None}},
        f"win_rate_by_{long}": {"seen": RATE},
        "profiles": {"win_rate": {"seen": RATE}},
        "concept_accuracy": {"base": 0.25},
    }
    print_win_rates(summary)
    lines = capsys.readouterr().out.splitlines()
    rows = [[cell.strip() for cell in line.split("│")[1:-1]] for line in lines if line.startswith("│")]
    numbers = ["0.58-0.92", "17", "6", "1", "0.74"]
    assert rows == [
        ["seen", "first", "0.729", *numbers],
        ["unseen", "first", "0.500", "none: fewer than 2 to resample", *numbers[1:]],
        ["seen", long.strip(), "0.729", *numbers],
        ["seen, by profile", "first", "0.729", *numbers],
    ]
    assert lines[-1] == "concept recognised, base: 0.250"
