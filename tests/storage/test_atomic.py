from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from ppd_lightning.storage.atomic import atomic_path, write_json_atomic, write_text_atomic

WRITE_FOREVER = """
import sys
from pathlib import Path
from ppd_lightning.storage.atomic import write_text_atomic
for n in range(10**9):
    write_text_atomic(Path(sys.argv[1]), str(n % 10) * 1_000_000)
"""


def test_the_file_and_its_folders_are_made(tmp_path: Path) -> None:
    write_text_atomic(tmp_path / "a" / "b.txt", "ü\r\n")
    assert (tmp_path / "a" / "b.txt").read_bytes() == "ü\r\n".encode()
    write_json_atomic(tmp_path / "c.json", {"b": [1, 2.5], "a": "ü"})
    assert json.loads((tmp_path / "c.json").read_text()) == {"b": [1, 2.5], "a": "ü"}


def test_a_failure_leaves_the_old_file_and_nothing_else(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    path.write_text("old")

    def write_half() -> None:
        with atomic_path(path) as temporary:
            temporary.write_text("ne")
            raise RuntimeError("disk full")

    with pytest.raises(RuntimeError, match="disk full"):
        write_half()
    assert path.read_text() == "old"
    assert os.listdir(tmp_path) == ["a.txt"]


def test_until_the_end_of_the_block_the_old_file_is_there(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    path.write_text("old")
    with atomic_path(path) as temporary:
        temporary.write_text("new")
        assert path.read_text() == "old"
    assert path.read_text() == "new"


def test_writers_that_look_at_the_suffix_find_it(tmp_path: Path) -> None:
    with atomic_path(tmp_path / "a.npy") as temporary:
        np.save(temporary, np.arange(3))
    assert np.load(tmp_path / "a.npy").tolist() == [0, 1, 2]


def test_json_that_no_reader_takes_is_refused_and_nothing_is_written(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="not JSON compliant"):
        write_json_atomic(tmp_path / "a.json", {"loss": float("nan")})
    assert os.listdir(tmp_path) == []


def test_a_killed_writer_never_leaves_half_a_file(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    for _ in range(3):
        writer = subprocess.Popen([sys.executable, "-c", WRITE_FOREVER, str(path)])
        deadline = time.monotonic() + 30
        while not path.exists() and time.monotonic() < deadline:
            time.sleep(0.01)
        time.sleep(0.05)
        writer.send_signal(signal.SIGKILL)
        writer.wait()
        text = path.read_text()
        assert len(text) == 1_000_000
        assert set(text) == {text[0]}
