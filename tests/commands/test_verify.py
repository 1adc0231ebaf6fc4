"""`ppd verify` names what is damaged, and the command that made it makes that again."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests import tiny
from tests.commands.test_prepare import composed, placed, rows, write

from ppd_lightning.commands import prepare, verify
from ppd_lightning.config.folders import data_folder
from ppd_lightning.config.root import Config
from ppd_lightning.errors import UserError


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Config:
    folder = tmp_path_factory.mktemp("prepared")
    write(folder / "source", rows())
    config = placed(
        composed("data=pickapic", f"data.root={folder}/source"), tiny.model_folder(folder / "model"), folder / "out"
    )
    prepare.run(config)
    return config


def flip(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


def test_what_is_whole_is_counted(prepared: Config) -> None:
    summary = verify.run(prepared)
    assert (summary["stores"], summary["tables"]) == (2, 3)
    assert summary["bytes"] == sum(path.stat().st_size for path in data_folder(prepared).rglob("*.arrow"))


def test_flipped_bytes_are_named_all_at_once_and_made_again(prepared: Config) -> None:
    damaged = [next(data_folder(prepared).glob(name)) for name in ("latents/*.arrow", "splits-*/pairs.arrow")]
    sound = [path.read_bytes() for path in damaged]
    for path in damaged:
        flip(path)
    with pytest.raises(UserError) as failure:
        verify.run(prepared)
    assert [fault.partition(": damaged (its checksum differs)")[0] for fault in failure.value.faults] == [
        str(path) for path in damaged
    ]
    assert failure.value.faults[0].endswith("; run `ppd prepare` with the same settings")
    prepare.run(prepared)
    verify.run(prepared)
    assert [path.read_bytes() for path in damaged] == sound


def test_where_nothing_is_prepared_it_says_so(prepared: Config, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"nothing is prepared; run `ppd prepare`"):
        verify.run(placed(prepared, Path(prepared.model.path or ""), tmp_path))
