"""Two commands that train one run: the second waits, and finds it done or goes on."""

from __future__ import annotations

import threading
import types
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from ppd_lightning.commands import train
from ppd_lightning.storage.finished_run import LEASE
from ppd_lightning.storage.leases import Lease, holder_of


@pytest.mark.parametrize("finishes", [True, False])
def test_the_second_command_waits_and_trains_only_what_the_first_one_left(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, finishes: bool
) -> None:
    trained: list[Any] = []
    for name in ("is_whole", "_is_whole"):
        monkeypatch.setattr(train, name, lambda folder: (folder / "whole").exists())
    monkeypatch.setattr(train, "Lease", partial(Lease, pause=0.01))
    monkeypatch.setattr(train, "require_loggers", lambda _: None)
    monkeypatch.setattr(train, "_train_or_start_ranks", lambda at: trained.append(holder_of(at.run / LEASE)))
    first = Lease(tmp_path / LEASE)
    assert first.acquire()

    def end() -> None:
        assert trained == []
        if finishes:
            (tmp_path / "whole").touch()
        first.release()

    ending = threading.Timer(0.1, end)
    ending.start()
    train._ensure_trained(types.SimpleNamespace(run=tmp_path, config=types.SimpleNamespace(logger=None)))
    ending.join()
    assert [holder is not None for holder in trained] == ([] if finishes else [True])
    assert not (tmp_path / LEASE).exists()
