"""The tutorial of one's own pairs: its commands, one after the other, on a tiny table."""

from __future__ import annotations

import json
import re
import shlex
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from ppd_lightning.cli import main

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
    for name, rows in lines.items():
        (folder / name).write_text("\n".join(rows) + "\n", encoding="utf-8")


@pytest.mark.long
def test_the_tutorials_commands_lead_to_a_measure_and_images(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    write_tables(tmp_path / "mine")
    monkeypatch.chdir(tmp_path)
    commands = re.findall(r"^    ppd (.+)$", PAGE.read_text(encoding="utf-8"), re.MULTILINE)
    assert len(commands) == 6
    for command in commands:
        if " -m " in command:
            continue  # a sweep of the same verbs
        table = "mine/other.csv" if "data.columns" in command else "mine/pairs.csv"
        words = shlex.split(command.replace("FOLDER/pairs.csv", str(tmp_path / table)))
        assert main([*words, *SMALLER]) == 0, command
        if words[0] == "doctor":
            assert f"{len(PEOPLE) * len(CAPTIONS)} rows" in capsys.readouterr().out
    (path,) = tmp_path.glob("outputs/runs/*/evaluation-*/summary.json")
    accuracy = json.loads(path.read_text())["preference_accuracy"]
    assert accuracy.keys() == {"seen", "unseen"}
    assert all(rate["n"] > 0 for rate in accuracy.values())
    assert list(tmp_path.glob("outputs/runs/*/generation-*/*.png"))
