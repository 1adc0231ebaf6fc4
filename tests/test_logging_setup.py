"""Log lines: whose, of which run, and where they go."""

from __future__ import annotations

import io
import logging
from collections.abc import Iterator

import pytest

from ppd_lightning.logging_setup import lines_of_run, set_up_logging

OURS = logging.getLogger("ppd_lightning.somewhere")


@pytest.fixture(autouse=True)
def handlers_as_before() -> Iterator[None]:
    root = logging.getLogger()
    handlers, level = list(root.handlers), root.level
    yield
    root.handlers[:] = handlers
    root.setLevel(level)


def test_lines_of_a_sweep_name_their_run(capsys: pytest.CaptureFixture[str]) -> None:
    set_up_logging()
    with lines_of_run(3, 12):
        OURS.info("begun")
    OURS.info("all done")
    assert [line.split(" ", 1)[1] for line in capsys.readouterr().err.splitlines()] == ["[run 3/12] begun", "all done"]


def test_lines_go_to_what_standard_error_is_at_the_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """A bar puts itself in its place, and lines appear above the bar."""
    set_up_logging()
    shown = io.StringIO()
    monkeypatch.setattr("sys.stderr", shown)
    OURS.info("above the bar")
    logging.getLogger("elsewhere").info("of no interest")
    assert shown.getvalue().split(" ", 1)[1] == "above the bar\n"
