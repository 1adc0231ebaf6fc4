"""How a rank ends that was asked to stop, whatever else went wrong with it."""

from __future__ import annotations

import signal
from pathlib import Path
from typing import NoReturn

import pytest

from ppd_lightning import logging_setup, signals
from ppd_lightning.commands import rank, verbs
from ppd_lightning.config import compose


def broken(*given: object) -> NoReturn:
    raise RuntimeError("Connection closed by peer")


@pytest.mark.parametrize("moment", ["while its group breaks", "as that is looked at", "within a moment"])
def test_a_rank_that_is_asked_to_stop_ends_by_that(moment: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def asked(*given: object) -> NoReturn:
        signals.ask(signal.SIGUSR1)
        broken()

    monkeypatch.setattr(rank, "_end_with_standard_input", lambda: None)
    monkeypatch.setattr(logging_setup, "set_up_logging", lambda: None)
    monkeypatch.setattr(compose, "read_config", lambda path: None)
    monkeypatch.setattr(verbs, "run_verb", asked if moment.startswith("while") else broken)
    if moment.startswith("as"):
        monkeypatch.setattr(signals, "stopping", asked)
    elif moment.startswith("within"):
        monkeypatch.setattr(rank.time, "sleep", asked)
    assert rank.main(Path("config.yaml"), -1) == 128 + signal.SIGUSR1
