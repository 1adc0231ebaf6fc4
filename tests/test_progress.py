"""A long command says how far it is, how fast and how long it will take yet."""

from __future__ import annotations

import logging
import time
from types import SimpleNamespace

import pytest

from ppd_lightning import progress
from ppd_lightning.progress import Counted


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> SimpleNamespace:
    """A clock that stands still until it is told a time."""
    now = SimpleNamespace(seconds=1000.0)
    monkeypatch.setattr(progress, "time", SimpleNamespace(monotonic=lambda: now.seconds))
    return now


def test_without_a_terminal_there_are_lines_now_and_then(
    clock: SimpleNamespace, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    with Counted("images", 10_000, done=4_000) as counted:
        for _ in range(100):
            clock.seconds += 1
            counted.add(20)
    assert caplog.messages == [
        "images 4600/10000, 20 a second, 4 min 30 s left",
        "images 5200/10000, 20 a second, 4 min 00 s left",
        "images 5800/10000, 20 a second, 3 min 30 s left",
        "images 6000/10000, 20 a second, 3 min 20 s left",
    ]


def test_hours_and_the_end_are_reported_too(clock: SimpleNamespace, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    with Counted("images", 100_000) as counted:
        clock.seconds += 60
        counted.add(600)
        clock.seconds += 60
        counted.add(99_400)
    assert caplog.messages[0] == "images 600/100000, 10 a second, 2 h 45 min left"
    assert caplog.messages[-1] == "images 100000/100000, 833 a second"


def test_an_error_is_not_told_as_progress(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    with pytest.raises(KeyboardInterrupt), Counted("images", 10):
        raise KeyboardInterrupt
    assert not caplog.messages


def test_a_terminal_gets_a_bar(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr("sys.stderr.isatty", lambda: True)
    with Counted("images", 10, bar=True) as counted:
        time.sleep(0.01)
        counted.add(5)
    shown = capsys.readouterr().err
    assert "50%" in shown
    assert "images 5/10" in shown
