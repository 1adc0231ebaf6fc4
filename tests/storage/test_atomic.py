from __future__ import annotations

import errno
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from ppd_lightning.storage import atomic
from ppd_lightning.storage.atomic import atomic_path, write_json_atomic, write_text_atomic
from ppd_lightning.storage.writers import temporary_beside

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


def test_where_nothing_may_be_written_what_comes_out_the_same_stays(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "a.txt"
    path.write_text("there")

    def refuse(temporary: Path) -> int:
        raise OSError(errno.EROFS, "read-only", str(temporary))

    monkeypatch.setattr(atomic, "_created", refuse)
    write_text_atomic(path, "there")
    for name, text in (("a.txt", "other"), ("b.txt", "there")):
        with pytest.raises(OSError, match="read-only") as refused:
            write_text_atomic(tmp_path / name, text)
        assert refused.value.filename == str(tmp_path / name)
    assert (path.read_text(), os.listdir(tmp_path)) == ("there", ["a.txt"])


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


def test_what_a_killed_process_left_is_removed_and_what_is_in_use_is_not(tmp_path: Path) -> None:
    gone = subprocess.Popen([sys.executable, "-c", ""])
    gone.wait()
    machine, _, rest = temporary_beside(tmp_path / "a.ckpt").suffixes[0].removeprefix(".").partition("-")
    random = rest.partition("-")[2]
    names = {
        "dead": f".a.{machine}-{gone.pid}-{random}.ckpt",
        "alive": f".a.{machine}-{os.getppid()}-{random}.ckpt",
        "of another machine": f".a.{'0' * 8}-{gone.pid}-{random}.ckpt",
        "of another machine, old": f".b.{'0' * 8}-{gone.pid}-{random}.ckpt",
        "not ours": ".a.ckpt",
    }
    for name in names.values():
        (tmp_path / name).touch()
    os.utime(tmp_path / names["of another machine, old"], (0, 0))
    write_text_atomic(tmp_path / "a.ckpt", "")
    left = {"a.ckpt", names["alive"], names["of another machine"], names["not ours"]}
    assert set(os.listdir(tmp_path)) == left


@pytest.mark.parametrize(("umask", "mode"), [(0o022, 0o644), (0o007, 0o660)])
def test_files_have_the_mode_that_the_umask_gives(umask: int, mode: int, tmp_path: Path) -> None:
    """Whatever their writer gives them: safetensors' own has 0600."""
    before = os.umask(umask)
    try:
        with atomic_path(tmp_path / "folder" / "a.safetensors") as temporary:
            save_file({"a": torch.zeros(1)}, temporary)
            temporary.chmod(0o600)
        write_text_atomic(tmp_path / "folder" / "a.txt", "")
    finally:
        os.umask(before)
    assert {path.stat().st_mode & 0o777 for path in (tmp_path / "folder").iterdir()} == {mode}
    assert (tmp_path / "folder").stat().st_mode & 0o777 == 0o777 & ~umask


@pytest.mark.parametrize(
    "error",
    [
        OSError(errno.ENOSPC, "No space left on device"),
        type("SafetensorError", (Exception,), {})("I/O error: No space left on device (os error 28)"),
        RuntimeError("[enforce fail at inline_container.cc:672] . PytorchStreamWriter failed writing file data/5"),
        RuntimeError("[enforce fail at inline_container.cc:672] . unexpected pos 575744 vs 575632"),
    ],
)
def test_a_full_disk_names_the_file_whatever_library_met_it(tmp_path: Path, error: Exception) -> None:
    with pytest.raises(OSError, match=r"a\.ckpt") as raised, atomic_path(tmp_path / "a.ckpt"):
        raise error
    assert (raised.value.errno, raised.value.filename) == (errno.ENOSPC, str(tmp_path / "a.ckpt"))
    assert os.listdir(tmp_path) == []


def test_a_bug_stays_one(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError, match="a bug"), atomic_path(tmp_path / "a.ckpt"):
        raise RuntimeError("a bug")


def test_the_longest_names_can_be_written(tmp_path: Path) -> None:
    path = tmp_path / f"{'ü' * 124}.json"
    write_text_atomic(path, "{}")
    assert os.listdir(tmp_path) == [path.name]


def test_a_folder_is_looked_through_once_a_process(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    looked: list[Path] = []
    monkeypatch.setattr(atomic, "sweep", looked.append)
    for name in ("a", "b"):
        write_text_atomic(tmp_path / name, "")
    assert looked == [tmp_path]
