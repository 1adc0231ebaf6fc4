"""An exported folder describes new people by itself: the vectors of `ppd describe`, without this package."""

from __future__ import annotations

import csv
import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from tests import tiny
from tests.commands.test_describe import asking, pictures, trained
from tests.commands.test_users_line import configured, world
from tests.model_card.without_the_package import without_the_package

import ppd_lightning
from ppd_lightning.commands import describe, export
from ppd_lightning.config.root import Config
from ppd_lightning.config.workspace import Workspace
from ppd_lightning.generation.grid import as_picture
from ppd_lightning.rewards.open_clip_encoder import open_clip_encoder
from ppd_lightning.rewards.picture_features import features_of_pictures
from ppd_lightning.users.describer import NAME as DESCRIBER
from ppd_lightning.users.describer import Describer
from ppd_lightning.users.people_file import DescribedPeople
from ppd_lightning.users.set_spread import SetSpread

__all__ = ["world"]
CAPTION = "a red fox"
ROWS = [
    ("one", "a.png", "b.jpg", "Zoë 'the' \"9\" 山"),
    ("x, 1", "b.jpg", "a.png", "many"),
    ("x, 2", "c.gif", "a.png", "many"),
    ("x, 3", "f.tiff", "d.png", "many"),
]
RUN_ALL = """
import contextlib, io, json, runpy, sys
script, cases = sys.argv[1], json.loads(sys.argv[2])
sys.path[0] = script.rpartition("/")[0]
found = []
for words in cases:
    sys.argv, said, code = [script, *words], io.StringIO(), 0
    with contextlib.redirect_stderr(said):
        try:
            runpy.run_path(script, run_name="__main__")
        except SystemExit as end:
            code = end.code
    found.append([code, said.getvalue()])
print(json.dumps(found))
"""


def table(folder: Path, rows: Sequence[Sequence[str]], columns: str = "caption chosen rejected user") -> Path:
    folder.mkdir(exist_ok=True)
    pictures(folder)
    path = folder / "choices.csv"
    with path.open("w", newline="") as file:
        csv.writer(file).writerows([columns.split(), *rows])
    return path


def given(config: Config) -> Path:
    return Path(export.run(config)["folder"])


@pytest.mark.parametrize(
    ("kind", "overrides"),
    [
        pytest.param("features", (), marks=pytest.mark.long),
        ("features", ("user.encoder=efficientnet_lite0",)),
        pytest.param("clip_discriminants", (), marks=pytest.mark.long),
    ],
    ids=["codec", "efficientnet", "clip"],
)
def test_the_folder_alone_gives_the_vectors_of_ppd_describe_to_the_bit_and_draws(
    world: Path, tmp_path: Path, kind: str, overrides: tuple[str, ...]
) -> None:
    config = trained(world, kind, *overrides)
    file = Workspace(config).run / DESCRIBER
    kept = Describer.open(file)  # the sets of so few people hardly spread
    replace(kept, facts={**kept.facts, "spread": SetSpread(1.0, 1.0, 2).facts()}).save(file)
    release, choices = given(config), table(tmp_path, ROWS)
    assert "--choices choices.csv" in (release / "README.md").read_text()
    ours = DescribedPeople.open(
        Path(describe.run(asking(config, choices, to=str(tmp_path / "ours.safetensors")))["file"])
    )
    words = [release / "draw.py", world / "base", CAPTION, "--choices", choices, "--user", "many"]
    words += ["--to", tmp_path / "theirs.safetensors", "--out", tmp_path / "drawn.png"]
    words += ["--encoder", world / "clip"] if kind.startswith("clip") else []
    done = without_the_package(words, tmp_path)
    assert done.returncode == 0, done.stderr
    theirs = DescribedPeople.open(tmp_path / "theirs.safetensors")
    assert theirs.vectors.keys() == {row[3] for row in ROWS}
    for name, vector in ours.vectors.items():
        np.testing.assert_array_equal(theirs.vectors[name], vector, err_msg=name)
    assert (theirs.describer, theirs.facts) == (ours.describer, ours.facts)
    assert [ours.facts[name]["stretch"] > 1 for name in (ROWS[0][3], "many")] == [False, True]
    assert "described by 1 of the 2 choices that a set has in this run" in done.stderr
    for name, facts in ours.facts.items():
        assert (f"{name}: {facts['distance']:.1f} times as far" in done.stderr) == (facts["distance"] > 1)
    assert is_drawn(tmp_path / "drawn.png", config, ours.vectors["many"])
    if kind.startswith("clip"):  # the export knows but the last name of the reward's folder
        again = describe.run(asking(config, choices, of=str(release), to=str(tmp_path / "again.safetensors")))
        np.testing.assert_array_equal(DescribedPeople.open(Path(again["file"])).vectors["many"], ours.vectors["many"])
        files = {"rewards.emoji_clip.weights.model": str(world / "clip")}
        model = ppd_lightning.open(release, str(world / "base"), files=files)
        assert model.describe([("x", tmp_path / "a.png", tmp_path / "b.jpg")]).vector.shape == (4,)


def is_drawn(path: Path, config: Config, vector: np.ndarray) -> bool:
    """Whether a file is what the framework draws for a vector (E,)."""
    expected = Workspace(config).trained_run().draw([CAPTION], torch.from_numpy(vector)[None], [0])[0]
    with Image.open(path) as drawn:
        apart = np.abs(np.asarray(drawn).astype(int) - np.asarray(as_picture(expected)).astype(int))
    return bool(apart.max() <= 1)


def answers(release: Path, folder: Path, *cases: Sequence[str | Path]) -> list[tuple[int, str]]:
    """The exit code of draw.py and what it says, for each list of words."""
    script = folder / "all.py"
    script.write_text(RUN_ALL)
    words = json.dumps([[str(word) for word in words] for words in cases])
    done = without_the_package([script, release / "draw.py", words], folder)
    assert done.returncode == 0, done.stderr
    return [(code, said) for code, said in json.loads(done.stdout.splitlines()[-1])]


def test_bad_input_is_one_sentence_and_people_are_drawn_for_again(world: Path, tmp_path: Path) -> None:
    config = trained(world, "features")
    release, base = given(config), world / "base"
    ordered = "caption image_0 image_1 choice user"
    tables = {
        "gone": table(tmp_path / "gone", [("x", "a.png", "gone.png", "ann")]),
        "column": table(tmp_path / "column", [("x", "a.png", "b.jpg")], "caption chosen rejected"),
        "tie": table(tmp_path / "tie", [("x", "a.png", "b.jpg", "tie", "ann")], ordered),
        "several": table(tmp_path / "several", ROWS),
    }
    stranger = tmp_path / "stranger.safetensors"
    DescribedPeople({"ann": np.zeros(3, np.float32)}, "0" * 12, "elsewhere", {"ann": {}}).save(stranger)
    people = Path(describe.run(asking(config, table(tmp_path, ROWS[:1]), to=str(tmp_path / "one.safetensors")))["file"])
    other = tiny.model_folder(tmp_path / "other")
    tiny.codec(seed=1).save_pretrained(other / "codec")
    refused: list[tuple[list[str | Path], str]] = [
        ([base, CAPTION, "--choices", tables["gone"]], "line 2: there is no image "),
        ([base, CAPTION, "--choices", tables["column"]], "lacks the columns user; it has caption, chosen, rejected"),
        (
            [base, CAPTION, "--choices", tables["tie"]],
            "ann: nothing tells what this person prefers, for every choice is",
        ),
        ([base, CAPTION, "--choices", tmp_path / "none.csv"], "--choices: there is no file"),
        ([base, CAPTION, "--choices", tables["several"]], "--user: name one of Zoë"),
        (
            [base, CAPTION, "--choices", tables["several"], "--to", "people"],
            "--to: people is where people of --choices",
        ),
        ([base, CAPTION, "--people", release / "adapter.safetensors"], "no file of described people"),
        (
            [base, CAPTION, "--people", stranger],
            "described for elsewhere, and this training describes people otherwise",
        ),
        ([base, CAPTION, "--user", "nobody"], "--user: name one of "),
        ([other, CAPTION, "--choices", tables["several"]], "user=features: what sees the choices is "),
    ]
    drawn = [base, CAPTION, "--people", people, "--out", tmp_path / "drawn.png"]
    *found, last = answers(release, tmp_path, *(words for words, _ in refused), drawn)
    for (code, said), (_, expected) in zip(found, refused, strict=True):
        assert (code, expected in said, "Traceback" in said) == (2, True, False), said
    assert last[0] == 0, last[1]
    assert is_drawn(tmp_path / "drawn.png", config, DescribedPeople.open(people).vectors[ROWS[0][3]])


def test_kinds_that_need_rewards_or_a_vlm_name_ppd_describe(world: Path) -> None:
    for kind in ("reward", "stated"):
        why = configured(world, kind).user.encoder_code(Workspace(configured(world, kind)).instruments)
        assert isinstance(why, str)
        assert f"user={kind}: this folder describes nobody by itself; `ppd describe`" in why


def test_what_ships_goes_along_and_what_does_not_is_named(world: Path, tmp_path: Path) -> None:
    config = configured(world, "clip", "rewards.emoji_clip.weights.model=shipped:worlds/emoji/assets/clip")
    workspace = Workspace(config)
    code = config.user.encoder_code(workspace.instruments)
    assert not isinstance(code, str)
    for name, data in code.files.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(data)
    encode, found = open_clip_encoder(tmp_path, None, None, **code.settings)
    assert found == config.user.seen_by(workspace.instruments)
    images = [Image.fromarray(np.random.default_rng(k).integers(0, 256, (30 + k, 50, 3), np.uint8)) for k in range(3)]
    reward = workspace.instruments.open_rewards()["emoji_clip"]
    np.testing.assert_array_equal(encode(images), features_of_pictures(reward, images))
    local = configured(world, "clip").user.encoder_code(Workspace(configured(world, "clip")).instruments)
    assert not isinstance(local, str)
    assert (local.files, local.settings["location"], local.packages) == ({}, None, ("open_clip_torch",))
