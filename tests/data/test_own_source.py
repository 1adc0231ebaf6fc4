"""A source of one's own is one class and one YAML file: it is prepared, described and trained on."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from tests.data.handmade import STYLES, jpeg

from ppd_lightning.cli import main
from ppd_lightning.config.compose import compose
from ppd_lightning.errors import UserError

CONF = Path(__file__).parents[1] / "parts/conf"


@pytest.fixture
def choices(tmp_path: Path) -> Path:
    """Everybody likes the first style that they are shown in alphabetical order."""
    lines = []
    for style in STYLES:
        for number in range(8):
            (tmp_path / f"a picture {number} {style}.jpg").write_bytes(jpeg(f"{number}/{style}", (64, 64)))
    for user in range(8):
        for number in range(8):
            pair = [STYLES[(user + number) % 3], STYLES[(user + number + 1) % 3]]
            urls = [(tmp_path / f"a picture {number} {style}.jpg").as_uri() for style in pair]
            line = {"prompt": f"thing {number}", "urls": urls, "choice": int(pair[0] > pair[1])}
            lines.append(json.dumps(line | {"annotator": f"user {user}"}))
    (tmp_path / "choices.jsonl").write_text("\n".join(lines))
    return tmp_path / "choices.jsonl"


def test_it_goes_the_whole_line(choices: Path, tmp_path: Path) -> None:
    settings = [
        "--config-dir",
        str(CONF),
        "data=jsonl",
        f"data.file={choices}",
        "user.encoder=codec",
        "shots.n=2",
        "shots.groupings=3",
        "trainer=cpu",
        "trainer.max_steps=2",
        "trainer.batch_size=4",
        "trainer.progress=false",
        f"output={tmp_path / 'out'}",
    ]
    assert main(["prepare", "embed", "train", *settings]) == 0
    [summary] = (tmp_path / "out/runs").glob("*/summary.json")
    assert json.loads(summary.read_text())["step0_loss"] == pytest.approx(0.693147, abs=1e-5)
    [prepared] = (tmp_path / "out/data").glob("jsonl-*/splits-*/prepared.json")
    assert json.loads(prepared.read_text())["summary"]["counts"]["rows"] == 64


def test_its_settings_are_checked_with_all_others(choices: Path) -> None:
    with pytest.raises(UserError) as failure:
        compose(["data=jsonl", "data.flie=x", "data.unseen_users=2", "seed=-1"], CONF)
    assert [fault.partition(" (")[0] for fault in failure.value.faults] == [
        "data.unseen_users: must be a number >= 0 and < 1, not 2",
        "data.file: needs a value",
        "data.flie: no such key; did you mean data.file?",
        "seed: must be a whole number >= 0 and <= 4,294,967,295, not -1",
    ]


def test_its_keys_are_in_the_help(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["prepare", "--help", "--config-dir", str(CONF)]) == 0
    out = capsys.readouterr().out
    assert "data.file" in out
    assert "The JSONL file." in out
