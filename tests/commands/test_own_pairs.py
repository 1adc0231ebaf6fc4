"""The tutorial of one's own pairs: its commands, one after the other, on a tiny table."""

from __future__ import annotations

import io
import json
import re
import shlex
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from tests.data.test_images_in_tables import ROWS, as_datasets, as_struct
from tests.data.test_sources import SCHEMA, saved, shards, tar

from ppd_lightning.cli import main
from ppd_lightning.data.webdataset import samples

PAGE = Path(__file__).parents[2] / "docs/own_pairs.md"
SMALLER = (
    "trainer.max_steps=2",
    "trainer.progress=false",
    "optimizer.warmup_steps=1",
    "trainer.batch_size=4",
    "user.encoder=codec",
    "user.components=2",
    "shots.groupings=2",
    "data.held_out_captions=0.3",
    "data.unseen_users=0.3",
    "generation.steps=2",
    "generation.columns=2",
    "evaluation.preference_draws=1",
)
PEOPLE, CAPTIONS = ("ann", "bob", "cem", "dee", "eve", "fay"), [f"apple {number}" for number in range(14)]


def write_tables(folder: Path) -> None:
    """The table of the tutorial, and the same under other names."""
    (folder / "img").mkdir(parents=True)
    generator = np.random.default_rng(0)
    lines: dict[str, list[str]] = {
        "pairs.csv": ["prompt,chosen,rejected,user"],
        "other.csv": ["text,left,right,better,user"],
    }
    for number, caption in enumerate(CAPTIONS):
        for side in "ab":
            Image.fromarray(generator.integers(0, 256, (64, 64, 3), np.uint8)).save(folder / f"img/{number}{side}.png")
        for person, user in enumerate(PEOPLE):
            sides = "ab" if person % 2 else "ba"
            first, second = (f"img/{number}{side}.png" for side in sides)
            lines["pairs.csv"].append(f"{caption},{first},{second},{user}")
            lines["other.csv"].append(f"{caption},{second},{first},1,{user}")
    lines["choices.csv"] = [
        line.replace(",ann", ",zoe") for line in lines["pairs.csv"] if not line.endswith(PEOPLE[1:])
    ]
    for name, rows in lines.items():
        (folder / name).write_text("\n".join(rows) + "\n", encoding="utf-8")


@pytest.mark.long
def test_the_tutorials_commands_lead_to_a_measure_and_images(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    write_tables(tmp_path / "mine")
    monkeypatch.chdir(tmp_path)
    commands = re.findall(r"^    ppd (.*pairs\.csv.*)$", PAGE.read_text(encoding="utf-8"), re.MULTILINE)
    assert len(commands) == 7
    for command in commands:
        if " -m " in command:
            continue  # a sweep of the same verbs
        table = "mine/other.csv" if "data.columns" in command else "mine/pairs.csv"
        words = shlex.split(command.replace("FOLDER/pairs.csv", str(tmp_path / table)).replace("FOLDER", "mine"))
        assert main([*words, *SMALLER]) == 0, command
        if words[0] == "doctor":
            assert f"{len(PEOPLE) * len(CAPTIONS)} rows" in capsys.readouterr().out
    (path,) = tmp_path.glob("outputs/runs/*/evaluation-*/summary.json")
    accuracy = json.loads(path.read_text())["preference_accuracy"]
    assert accuracy.keys() == {"seen", "unseen"}
    assert all(rate["n"] > 0 for rate in accuracy.values())
    assert list(tmp_path.glob("outputs/runs/*/generation-*/*.png"))


def test_captions_that_the_model_does_not_know_are_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_tables(tmp_path / "mine")
    table = f"data.table={tmp_path / 'mine/pairs.csv'}"
    assert main(["prepare", "experiment=emoji/own", table, f"output={tmp_path / 'out'}", *SMALLER]) == 0
    assert (
        "data: model=emoji was trained on the names of 100 concepts alone, and 14 of 14 captions"
        in capsys.readouterr().err
    )


def test_the_pages_shards_and_saved_data_sets_are_read(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    for folder, make in (("shards", shards), ("saved/train", as_saved), ("hub/data", as_hub)):
        make(tmp_path / folder)
    monkeypatch.chdir(tmp_path)
    commands = re.findall(
        r"^    ppd (.*data\.table='?FOLDER/(?!pairs).*)$", PAGE.read_text(encoding="utf-8"), re.MULTILINE
    )
    assert len(commands) == 4
    for command, rows in zip(commands, (3, 2, 3, 3), strict=True):
        assert main(shlex.split(command.replace("FOLDER", str(tmp_path)))) == 0, command
        assert f"{rows} rows" in capsys.readouterr().out
    words = re.search(r"^000001\.json +({.*})$", PAGE.read_text(encoding="utf-8"), re.MULTILINE)
    assert words is not None
    files = {"a/1.json": words[1].encode(), "a/1.0.jpg": b"0", "a/1.1.png": b"1"}
    ((key, row),) = samples(io.BytesIO(tar(files)), "x.tar")
    assert key == "a/1"
    assert isinstance(row, dict)
    assert {name: value["bytes"] for name, value in row.items() if "image" in name} == {
        "image_0": b"0",
        "image_1": b"1",
    }
    assert (row["caption"], row["user"], row["choice"]) == ("red apple", "ann", 1)


def as_saved(folder: Path) -> None:
    saved(folder, as_struct(ROWS), SCHEMA)


def as_hub(folder: Path) -> None:
    folder.mkdir(parents=True)
    for number, row in enumerate(as_struct(ROWS)):
        (folder / f"train-{number:05}-of-00003.parquet").write_bytes(as_datasets([row]))
