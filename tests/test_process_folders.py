"""What a container lacks is a sentence or is done without."""

from __future__ import annotations

import tempfile
from pathlib import Path

import pytest

from ppd_lightning.cli import main
from ppd_lightning.distributed.rank import ALONE, current_rank
from ppd_lightning.errors import UserError
from ppd_lightning.process_folders import require_folders


def test_a_current_folder_that_was_removed_is_a_sentence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "gone").mkdir()
    monkeypatch.chdir(tmp_path / "gone")
    (tmp_path / "gone").rmdir()
    assert main(["prepare", "--dry-run"]) == 2
    assert capsys.readouterr().err.startswith("ppd: the current folder was removed; ")


def test_no_folder_for_temporary_files_is_a_sentence(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", None)
    monkeypatch.setattr(tempfile, "_candidate_tempdir_list", lambda: ["/proc/none"])
    monkeypatch.setenv("TMPDIR", "/proc/none")
    assert main(["validate"]) == 2
    assert "TMPDIR=/proc/none, /tmp, /var/tmp" in capsys.readouterr().err


def test_a_cache_that_cannot_be_written_is_not_used(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / "file").touch()
    environment = {"TRITON_CACHE_DIR": f"{tmp_path}/file/x", "TORCHINDUCTOR_CACHE_DIR": f"{tmp_path}/new"}
    require_folders(environment)
    assert environment == {"TORCHINDUCTOR_CACHE_DIR": f"{tmp_path}/new"}
    assert "TRITON_CACHE_DIR" in caplog.text


def test_a_variable_of_ranks_that_is_no_number_is_a_sentence() -> None:
    with pytest.raises(UserError, match=r"RANK=x: this variable must be a whole number") as caught:
        require_folders({"RANK": "x", "LOCAL_RANK": "-1", "WORLD_SIZE": "2"})
    assert len(caught.value.faults) == 2
    names = ("RANK", "WORLD_SIZE", "LOCAL_RANK", "LOCAL_WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT")
    assert current_rank(dict.fromkeys(names, "x")) == ALONE
