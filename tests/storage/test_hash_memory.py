"""The SHA-256 of a large file is read once; the file that changed is read again, whatever its times say."""

from __future__ import annotations

import multiprocessing
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from ppd_lightning.storage import hash_memory
from ppd_lightning.storage.fingerprints import file_sha256
from ppd_lightning.storage.hash_memory import remembered_sha256


class Reads(list[Path]):
    """The files that were read, and the hash of each."""

    def __call__(self, path: Path) -> str:
        self.append(path)
        return file_sha256(path)


@pytest.fixture
def reads(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Reads:
    """The files that are read from here on; a file of five bytes is large, and one just written has settled."""
    reads = Reads()
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(hash_memory, "LARGE", 5)
    monkeypatch.setattr(hash_memory, "SETTLED", -60.0)
    monkeypatch.setattr(hash_memory, "file_sha256", reads)
    return reads


@pytest.fixture
def weights(tmp_path: Path) -> Path:
    path = tmp_path / "model.safetensors"
    path.write_bytes(b"weights")
    return path


def notes(folder: Path) -> list[Path]:
    return sorted((folder / "cache/ppd-lightning/sha256").glob("*"))


def test_the_second_time_no_byte_is_read(reads: Reads, weights: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = remembered_sha256(weights)
    link = weights.with_name("link")
    link.symlink_to(weights)
    monkeypatch.setattr(Path, "open", guarded(weights))
    assert remembered_sha256(weights) == remembered_sha256(link) == first
    assert reads == [weights]


def guarded(path: Path) -> Callable[..., object]:
    """`Path.open`, which refuses one file."""
    real = Path.open

    def opened(self: Path, *args: Any, **more: Any) -> object:
        assert self.resolve() != path, "its bytes are read"
        return real(self, *args, **more)

    return opened


def test_a_file_that_changed_is_read_again_also_where_its_size_and_time_are_set_back(
    reads: Reads, weights: Path
) -> None:
    before, first = weights.stat(), remembered_sha256(weights)
    while True:  # until the file system's clock ticks
        weights.write_bytes(b"changed")
        os.utime(weights, ns=(before.st_atime_ns, before.st_mtime_ns))
        if weights.stat().st_ctime_ns != before.st_ctime_ns:
            break
    assert (weights.stat().st_size, weights.stat().st_mtime_ns) == (before.st_size, before.st_mtime_ns)
    assert remembered_sha256(weights) == file_sha256(weights) != first
    assert len(reads) == 2


def test_another_file_of_the_same_name_is_read(reads: Reads, weights: Path) -> None:
    first = remembered_sha256(weights)
    other = weights.with_name("other")
    other.write_bytes(b"another")
    other.replace(weights)
    assert remembered_sha256(weights) == file_sha256(weights) != first


def test_what_just_changed_or_changes_while_it_is_read_is_not_remembered(
    reads: Reads, weights: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(hash_memory, "SETTLED", 10.0)
    remembered_sha256(weights)
    assert not notes(tmp_path)
    monkeypatch.setattr(hash_memory, "SETTLED", -60.0)

    def slow(path: Path) -> str:
        found = file_sha256(path)
        path.write_bytes(b"longer weights")
        return found

    monkeypatch.setattr(hash_memory, "file_sha256", slow)
    remembered_sha256(weights)
    assert not notes(tmp_path)


def test_small_files_are_read_each_time(reads: Reads, tmp_path: Path) -> None:
    small = tmp_path / "config.json"
    small.write_bytes(b"{}")
    assert remembered_sha256(small) == remembered_sha256(small)
    assert len(reads) == 2
    assert not notes(tmp_path)


@pytest.mark.parametrize("damage", [b"", b"{", b"[]", b'{"found": "0"}', b"\xff"])
def test_a_damaged_note_is_made_again(reads: Reads, weights: Path, tmp_path: Path, damage: bytes) -> None:
    first = remembered_sha256(weights)
    (note,) = notes(tmp_path)
    for bad in (damage, note.read_bytes().replace(first[:8].encode(), b"00000000")):
        note.write_bytes(bad)
        assert remembered_sha256(weights) == first
    assert len(reads) == 3
    assert remembered_sha256(weights) == first
    assert len(reads) == 3


def test_without_a_folder_for_it_files_are_read(
    reads: Reads, weights: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "cache").write_text("a file where the folder would be")
    first = remembered_sha256(weights)
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setattr(Path, "home", nobody)
    assert remembered_sha256(weights) == first
    assert len(reads) == 2
    with pytest.raises(FileNotFoundError):
        remembered_sha256(tmp_path / "absent")


def nobody() -> Path:
    raise RuntimeError("Could not determine home directory.")


def test_several_processes_may_ask_at_once(reads: Reads, weights: Path, tmp_path: Path) -> None:
    fork = multiprocessing.get_context("fork")
    asking = [fork.Process(target=remembered_sha256, args=(weights,)) for _ in range(4)]
    for process in asking:
        process.start()
    for process in asking:
        process.join()
    assert [process.exitcode for process in asking] == [0] * 4
    assert len(notes(tmp_path)) == 1
    assert remembered_sha256(weights) == file_sha256(weights)
    assert reads == []
