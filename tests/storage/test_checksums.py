"""A finished folder is compared with the checksums that were written last, and `sha256sum` reads them too."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from ppd_lightning.errors import UserError
from ppd_lightning.storage.checksums import known_sha256, note_checksum, noted_fault, read_checksums
from ppd_lightning.storage.fingerprints import file_sha256
from ppd_lightning.storage.finished_run import is_finished, is_whole, mark_finished, require_result, result_faults
from ppd_lightning.storage.json_files import read_checked_json, write_checked_json
from ppd_lightning.storage.result_folder import finish_folder, finished_summary, require_whole, result_files

RUN = {"adapter.safetensors": b"weights", "config.yaml": b"seed: 0\n", "summary.json": b'{"loss": 0.5}'}


@pytest.fixture
def run(tmp_path: Path) -> Path:
    folder = tmp_path / "runs" / "ppd"
    folder.mkdir(parents=True)
    for name, data in RUN.items():
        (folder / name).write_bytes(data)
    mark_finished(folder)
    return folder


@pytest.mark.skipif(shutil.which("sha256sum") is None, reason="there is no sha256sum here")
def test_sha256sum_checks_what_is_finished(run: Path) -> None:
    command = ["sha256sum", "--strict", "-c", ".done"]
    assert subprocess.run(command, cwd=run, check=False, capture_output=True).returncode == 0
    (run / "summary.json").write_bytes(b'{"loss": 0.6}')
    done = subprocess.run(command, cwd=run, check=False, capture_output=True, text=True)
    assert "summary.json: FAILED" in done.stdout


def test_what_is_whole_is_finished(run: Path) -> None:
    assert read_checksums(run, ".done") == {name: file_sha256(run / name) for name in RUN}
    assert is_finished(run)
    assert is_whole(run)
    require_result(run, RUN)


@pytest.mark.parametrize("name", RUN)
@pytest.mark.parametrize("kind", ["flipped", "cut", "deleted"])
def test_a_file_that_differs_is_named_with_a_remedy(run: Path, name: str, kind: str) -> None:
    path, data = run / name, RUN[name]
    if kind == "deleted":
        path.unlink()
    else:
        path.write_bytes(bytes([data[0] ^ 1]) + data[1:] if kind == "flipped" else data[:-1])
    (fault,) = result_faults(run)
    assert fault.startswith(f"{path}: {'missing' if kind == 'deleted' else 'damaged (its SHA-256 was '}")
    with pytest.raises(UserError, match=f"{name}: .*; run `ppd train` with the same settings, which writes it again"):
        require_result(run, [name])
    require_result(run, set(RUN) - {name})
    assert not is_whole(run)


def test_a_mark_that_is_cut_anywhere_is_none(run: Path) -> None:
    whole = (run / ".done").read_bytes()
    for end in range(1, len(whole)):
        (run / ".done").write_bytes(whole[:end])
        assert not is_finished(run), end
    with pytest.raises(UserError, match=r"\.done: cut; no finished training .* goes on from the last checkpoint"):
        require_result(run, [])
    with pytest.raises(UserError, match=r"nowhere: no finished training .* which `ppd runs` lists"):
        require_result(run.with_name("nowhere"), [])
    assert result_faults(run) == [f"{run / '.done'}: cut, so the training counts as unfinished"]


def test_an_empty_mark_is_one_of_an_earlier_version_where_the_result_is_there(run: Path, tmp_path: Path) -> None:
    (run / ".done").write_bytes(b"")
    assert not is_finished(run), "an adapter that can be read has a checksum of its own since then"
    (run / "adapter.safetensors").unlink()
    assert is_finished(run)
    assert result_faults(run) == [f"{run / 'adapter.safetensors'}: missing"]


def test_a_checksum_is_read_again_when_the_file_changed_and_only_then(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"one")
    first = known_sha256(path)
    path.write_bytes(b"two")
    os.utime(path, (1, 1))  # whoever sets its times back
    second = known_sha256(path)
    assert second == file_sha256(path) != first
    monkeypatch.setattr("ppd_lightning.storage.checksums.file_sha256", lambda _: pytest.fail("it is known"))
    assert known_sha256(path) == second


def test_a_damaged_result_is_made_again_and_a_reader_says_by_what(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    folder = tmp_path / "evaluation-0123"
    folder.mkdir()
    (folder / "comparisons.parquet").write_bytes(b"rows")
    assert finished_summary(folder) is None
    finish_folder(folder, {"rate": 0.5}, ["comparisons.parquet", "of another setting"])
    assert finished_summary(folder) == {"rate": 0.5}
    assert not caplog.text
    for name in ("summary.json", "comparisons.parquet", "SHA256SUMS"):
        before = (folder / name).read_bytes()
        (folder / name).write_bytes(before.replace(b"5", b"6") if b"5" in before else b"other rows")
        assert finished_summary(folder) is None
        assert f"{folder / name}: damaged" in caplog.text
        with pytest.raises(UserError, match=f"{name}: damaged .*; run `ppd evaluate` with the same settings"):
            require_whole(folder / ("summary.json" if name == "SHA256SUMS" else name))
        (folder / name).write_bytes(before)
    assert finished_summary(folder) == {"rate": 0.5}


@pytest.mark.parametrize("name", ["summary.json", "comparisons.parquet"])
def test_a_finished_folder_that_lacks_a_file_is_not_left_out_in_silence(tmp_path: Path, name: str) -> None:
    for kind in ("evaluation-1", "evaluation-2", "generation-1"):
        folder = tmp_path / kind
        folder.mkdir()
        (folder / "comparisons.parquet").write_bytes(b"rows")
        finish_folder(folder, {"rate": 0.5}, ["comparisons.parquet"])
    (tmp_path / "evaluation-of an earlier version").mkdir()
    found = list(result_files(tmp_path, "evaluation"))
    assert found == [tmp_path / "evaluation-1" / "summary.json", tmp_path / "evaluation-2" / "summary.json"]
    (tmp_path / "evaluation-2" / name).unlink()
    with pytest.raises(UserError, match=f"evaluation-2/{name}: missing; run `ppd evaluate`"):
        list(result_files(tmp_path, "evaluation", "comparisons.parquet"))


def test_a_file_with_its_checksum_beside_it(tmp_path: Path) -> None:
    path = tmp_path / "part.parquet"
    path.write_bytes(b"scores")
    assert noted_fault(path) is None, "an earlier version noted none"
    note_checksum(path)
    assert noted_fault(path) is None
    path.write_bytes(b"scared")
    assert f"{path}: damaged" in str(noted_fault(path))
    path.with_suffix(".sha256").write_bytes(b"\xff")
    assert noted_fault(path) == f"{path.with_suffix('.sha256')}: damaged"


@pytest.mark.parametrize(
    "text", ["", "[1]", "{", '{"a": 2, "sha256": "0"}', "[" * 100_000, "\x00", '"a"', "null", "{}{}"]
)
def test_json_that_is_damaged_is_one_sentence(tmp_path: Path, text: str) -> None:
    path = tmp_path / "prepared.json"
    write_checked_json(path, {"a": 1, "b": {"c": [0.1, "ü"]}})
    assert read_checked_json(path, "") == {"a": 1, "b": {"c": [0.1, "ü"]}}
    path.write_text(text)
    with pytest.raises(UserError, match=r"prepared\.json: damaged \(.*\); make it again") as failure:
        read_checked_json(path, "make it again")
    assert len(failure.value.faults) == 1
