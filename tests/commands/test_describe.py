"""New people by a few choices: the vectors of training through another door, and their pictures."""

from __future__ import annotations

import csv
import json
import re
import stat
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest
from PIL import Image
from safetensors.numpy import load_file
from tests.commands.test_users_line import configured, users_of, world

import ppd_lightning
from ppd_lightning.cli import main
from ppd_lightning.commands import describe, embed, export, generate, train
from ppd_lightning.config.root import Config
from ppd_lightning.config.workspace import Workspace
from ppd_lightning.data.pairs import stable_ids
from ppd_lightning.errors import UserError
from ppd_lightning.settings.values import Share
from ppd_lightning.users.people_file import DescribedPeople

__all__ = ["world"]
CAPTION = "a red fox"
CHOICES = ("caption", "image_0", "image_1", "choice", "user")
BOUND = {"features": 0.0, "caption_aware": 0.0, "clip": 1e-5, "clip_discriminants": 1e-4, "reward": 1e-4}
"""By which a vector may differ from that of the training: what batches of other sizes round otherwise."""


def trained(world: Path, kind: str, *overrides: str) -> Config:
    config = configured(world, kind, *overrides)
    embed.run(config)
    train.run(config)
    return config


def write(folder: Path, rows: Sequence[Sequence[str]]) -> Path:
    path = folder / "choices.csv"
    with path.open("w", newline="") as file:
        csv.writer(file).writerows([CHOICES, *rows])
    return path


def shots_of(world: Path, kind: str, folder: Path, prefix: str = "") -> tuple[Path, dict[str, np.ndarray]]:
    """The shots of the first row of every person as a table of choices, the shots in another order, and that row."""
    users = users_of(world, kind)
    rows, pairs, data = users.rows(), users.data.read_pairs(), users.data
    first = {user: row for row, user in reversed(list(enumerate(rows.users)))}
    position = {pair: row for row, pair in enumerate(stable_ids(pairs["pair_id"]).tolist())}
    table, wanted = [], set()
    for number, (user, row) in enumerate(sorted(first.items())):
        for shot in reversed(rows.shots[row].tolist()):
            pair = pairs.slice(position[shot], 1).to_pylist()[0]
            images = [f"{pair[side]}.img" for side in ("preferred", "dispreferred")]
            wanted |= {pair["preferred"], pair["dispreferred"]}
            order = images if number % 2 else images[::-1]
            table.append([pair["caption"], *order, "0" if number % 2 else "1", f"{prefix}{user}"])
    images = data.images_table()
    images = images.filter(pc.is_in(images["image_id"], value_set=pa.array(sorted(wanted))))
    for image, content in data.stored_images(images):
        assert content is not None
        (folder / f"{image}.img").write_bytes(content)
    vectors = {f"{prefix}{user}": np.asarray(rows.embeddings[[row]])[0] for user, row in first.items()}
    return write(folder, table), vectors


def asking(config: Config, choices: Path, **changes: str) -> Config:
    return replace(config, describe=replace(config.describe, choices=str(choices), **changes))


@pytest.fixture(scope="module")
def features(world: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Config, Path]:
    """A training, and the table of its people's shots under other names."""
    config = trained(world, "features")
    return config, shots_of(world, "features", tmp_path_factory.mktemp("shots"), "new ")[0]


@pytest.fixture
def without_data(world: Path) -> Iterator[None]:
    """As if the data of the training were on another machine."""
    (world / "out/data").rename(world / "out/elsewhere")
    yield
    (world / "out/elsewhere").rename(world / "out/data")


@pytest.mark.parametrize("kind", BOUND)
def test_the_same_shots_give_the_vector_of_training_without_its_data(
    world: Path, tmp_path: Path, kind: str, request: pytest.FixtureRequest
) -> None:
    config = trained(world, kind)
    choices, expected = shots_of(world, kind, tmp_path)
    request.getfixturevalue("without_data")
    summary = describe.run(asking(config, choices))
    found = load_file(summary["file"])
    assert found.keys() == expected.keys()
    assert len(found) == 12
    for name, vector in expected.items():
        np.testing.assert_allclose(found[name], vector, rtol=0, atol=BOUND[kind], err_msg=name)


def test_words_are_read_as_in_training(world: Path, tmp_path: Path) -> None:
    config = trained(world, "stated")
    rows = users_of(world, "stated").rows()
    texts = config.user.texts  # type: ignore[attr-defined]
    found = load_file(describe.run(asking(config, Path(texts), to=str(tmp_path / "people.safetensors")))["file"])
    for user, vector in zip(rows.users, rows.embeddings[:], strict=True):
        np.testing.assert_allclose(found[user], vector, rtol=0, atol=1e-4)
    with pytest.raises(UserError, match="user=stated: new people are described by a text each"):
        ppd_lightning.open(Workspace(config).run).describe([("x", Image.new("RGB", (9, 9)), Image.new("L", (8, 8)))])


def test_they_are_drawn_for_alone_and_in_blends_without_the_data(
    world: Path, features: tuple[Config, Path], without_data: None, tmp_path: Path
) -> None:
    config, choices = features
    file = tmp_path / "people.safetensors"
    main(
        [
            "describe",
            f"describe.of={Workspace(config).run}",
            f"describe.choices={choices}",
            f"describe.to={file}",
        ]
    )
    names = list(load_file(file))
    assert stat.S_IMODE(file.stat().st_mode) == stat.S_IMODE(choices.stat().st_mode)
    blend = [Share(user=names[0], weight=0.25), Share(user=names[1], weight=0.75)]
    asked = replace(config.generation, captions=[CAPTION], people=[str(file)], users=[names[0], blend, names[1]])
    drawn = Path(generate.run(replace(config, generation=asked))["folder"])
    rows = pq.read_table(drawn / "manifest.parquet").to_pylist()
    assert [row["user"] for row in rows] == [None, names[0], f"0.25 {names[0]} + 0.75 {names[1]}", names[1]]
    assert len({(drawn / row["file"]).read_bytes() for row in rows}) == 4
    everybody = replace(config.generation, captions=[CAPTION], people=[str(file)])
    drawn = Path(generate.run(replace(config, generation=everybody))["folder"])
    assert len(pq.read_table(drawn / "manifest.parquet")) == 1 + len(names)


def test_they_blend_with_people_of_the_data_and_are_given_away(
    world: Path, features: tuple[Config, Path], tmp_path: Path
) -> None:
    config, choices = features
    people = describe.run(asking(config, choices, to=str(tmp_path / "people.safetensors")))
    known = Workspace(config).data.people()["seen"][0]
    blend = [Share(user=f"new {known}", weight=0.5), Share(user=known, weight=0.5)]
    asked = replace(config.generation, users=[known, f"new {known}", blend], people=[people["file"]])
    given = Path(export.run(replace(config, generation=asked))["folder"])
    vectors = load_file(given / "users.safetensors")
    assert len(vectors) == 3
    np.testing.assert_array_equal(vectors[known], vectors[f"new {known}"])
    again = describe.run(asking(config, choices, of=str(given), to=str(tmp_path / "again.safetensors")))
    first, second = load_file(people["file"]), load_file(again["file"])
    assert all(np.array_equal(first[name], second[name]) for name in first)


def test_people_of_another_training_are_refused(world: Path, features: tuple[Config, Path], tmp_path: Path) -> None:
    config, choices = features
    people = describe.run(asking(config, choices, to=str(tmp_path / "people.safetensors")))
    other = trained(world, "features", "shots.groupings=2")
    asked = replace(other, generation=replace(other.generation, captions=[CAPTION], people=[people["file"]]))
    with pytest.raises(UserError, match=r"described for .*, and this training describes people otherwise; run"):
        generate.run(asked)
    with pytest.raises(UserError, match="there is no such file of people"):
        generate.run(replace(config, generation=replace(config.generation, people=["nowhere.safetensors"])))
    adapter = str(Workspace(config).run / "adapter.safetensors")
    with pytest.raises(UserError, match="no file of described people"):
        generate.run(replace(config, generation=replace(config.generation, people=[adapter])))


@pytest.mark.parametrize("kind", ["id", "constant"])
def test_kinds_that_serve_nobody_new_say_so(world: Path, features: tuple[Config, Path], kind: str) -> None:
    with pytest.raises(UserError, match=f"user={kind}: nobody new can be described: user={kind}"):
        describe.run(asking(configured(world, kind), features[1]))


def pictures(folder: Path) -> None:
    """Images of any kind and size, and what is none."""
    noise = np.random.default_rng(0).integers(0, 256, (90, 40, 4), np.uint8)
    for name, picture in {
        "a.png": Image.fromarray(noise),
        "b.jpg": Image.fromarray(noise[:, :, :3]).resize((400, 30)),
        "c.gif": Image.fromarray(noise[:, :, 0]).convert("P"),
        "d.png": Image.fromarray(noise[:, :, 0].astype(np.uint16) * 200),
        "e.bmp": Image.new("1", (1, 1)),
        "f.tiff": Image.new("CMYK", (33, 65), (9, 200, 3, 0)),
        "g.webp": Image.new("LA", (64, 64)).convert("RGBA"),
    }.items():
        picture.save(folder / name)
    (folder / "none.png").write_bytes(b"\x89PNG none")


def test_whatever_can_be_read_serves_from_one_choice_to_a_hundred(
    features: tuple[Config, Path], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    pictures(tmp_path)
    names = ["a.png", "b.jpg", "c.gif", "d.png", "e.bmp", "f.tiff", "g.webp"]
    rows = [["one", "a.png", "b.jpg", "1", "Zoë 'the' \"9\" 山"]]
    rows += [["x, y", names[k % 7], names[(k + 1) % 7], str(k % 2), "many"] for k in range(7)]
    rows += [[f"caption {k}", names[k % 7], names[(k + 3) % 7], "0", "many"] for k in range(93)]
    rows += [["one", "a.png", "b.jpg", "tie", "torn"], *([["one", "b.jpg", "a.png", "0", "torn"]] * 2)]
    rows += [["two", "c.gif", "d.png", "0", "torn"], ["two", "c.gif", "d.png", "1", "torn"]]
    summary = describe.run(asking(features[0], write(tmp_path, rows)))
    found = DescribedPeople.open(Path(summary["file"]))
    assert {name: facts["choices"] for name, facts in found.facts.items()} == {
        "Zoë 'the' \"9\" 山": 1,
        "many": 100,
        "torn": 1,
    }
    assert all(np.isfinite(vector).all() for vector in found.vectors.values())
    np.testing.assert_array_equal(found.vectors["torn"], found.vectors["Zoë 'the' \"9\" 山"])
    assert "torn: 1 pairs were decided both ways and are left out" in caplog.text
    assert (
        "torn: described by 1 of the 2 choices that a set has in this run; such a vector strays about 1.4"
        in caplog.text
    )


def test_faults_of_a_table_are_named_all_at_once(
    world: Path, features: tuple[Config, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pictures(tmp_path)
    run = Workspace(features[0]).run
    rows = [["x", "a.png", "gone.png", "0", "ann"], ["", "a.png", "b.jpg", "2", "ann"]]
    assert main(["describe", f"describe.of={run}", f"describe.choices={write(tmp_path, rows)}"]) == 2
    said = capsys.readouterr().err
    assert "line 2: there is no image" in said
    assert "line 3: caption is empty" in said
    assert "line 3: choice must be 0, 1 or tie, not '2'" in said
    for rows, message in (
        ([["x", "a.png", "none.png", "0", "ann"]], r"line 2: .*none\.png is no image that can be read"),
        (
            [["x", "a.png", "b.jpg", "tie", "ann"]],
            "ann: nothing tells what this person prefers, for every choice is a tie",
        ),
        (
            [["x", "a.png", "b.jpg", "0", "bob"], ["x", "b.jpg", "a.png", "0", "bob"]],
            "bob: nothing tells what this person prefers, for each pair was decided both ways",
        ),
        ([], "holds no rows"),
    ):
        with pytest.raises(UserError, match=message):
            describe.run(asking(features[0], write(tmp_path, rows)))
    with pytest.raises(UserError, match=r"describe\.choices: there is no file"):
        describe.run(asking(features[0], tmp_path / "nowhere.csv"))
    with pytest.raises(UserError, match=r"describe\.choices: name the table"):
        describe.run(features[0])
    with pytest.raises(UserError, match="neither the folder of a run nor of an export"):
        describe.run(asking(features[0], tmp_path / "choices.csv", of=str(tmp_path)))


def test_the_documented_python_describes_asks_and_draws(
    world: Path, features: tuple[Config, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pictures(tmp_path)
    monkeypatch.chdir(tmp_path)
    page = (Path(__file__).parents[2] / "docs/new_person.md").read_text()
    blocks = re.findall(r"```python\n([^`]*ppd_lightning\.open.*?)```", page, re.DOTALL)
    assert len(blocks[0].splitlines()) <= 20
    known = Workspace(features[0]).data.people()["seen"][0]
    names: dict[str, Any] = {"ppd_lightning": ppd_lightning}
    for shown, here in (
        ("outputs/runs/NAME", str(Workspace(features[0]).run)),
        ("SOMEBODY", known),
        ("wolf_1.png", "a.png"),
        ("wolf_2.png", "b.jpg"),
        ("sun_1.png", "c.gif"),
        ("sun_2.png", "d.png"),
    ):
        assert shown in blocks[0]
        blocks = [block.replace(shown, here) for block in blocks]
    exec("\n".join(blocks), names)
    assert len(list(tmp_path.glob("drawn-*.png"))) == 8
    assert len({image.tobytes() for image in names["images"]}) == 8
    assert names["row"] in (0, 1)


def test_python_refuses_what_cannot_be_drawn(world: Path, features: tuple[Config, Path], tmp_path: Path) -> None:
    pictures(tmp_path)
    model = ppd_lightning.open(Workspace(features[0]).run)
    ann = model.describe([("x", tmp_path / "a.png", Image.new("RGB", (5, 5)))])
    with pytest.raises(UserError, match=r"must add up to 1, not 0\.5"):
        model.draw(["x"], users=[0.5 * ann])
    with pytest.raises(UserError) as failure:
        model.describe([("", tmp_path / "gone.png", tmp_path / "none.png")])
    assert len(failure.value.faults) == 3
    (base,), (zero,) = model.draw(["x"]), model.draw(["x"], users=[ann], user_guidance=0.0)
    assert base.tobytes() == zero.tobytes()
    other = ppd_lightning.open(Workspace(trained(world, "clip")).run)
    with pytest.raises(UserError, match="of another model"):
        other.draw(["x"], users=[ann])
    with pytest.raises(UserError, match="of two models cannot be blended"):
        ann + other.user(Workspace(features[0]).data.people()["seen"][0])
    assert ppd_lightning.__version__ == json.loads(json.dumps(ppd_lightning.__version__))


def noise(count: int, seed: int) -> list[tuple[str, Image.Image, Image.Image]]:
    """Pairs of pictures of random pixels."""
    pixels = np.random.default_rng(seed).integers(0, 256, (count, 2, 20, 20, 3), np.uint8)
    return [(f"caption {row}", Image.fromarray(one), Image.fromarray(other)) for row, (one, other) in enumerate(pixels)]


@pytest.mark.parametrize("kind", [name for name in BOUND if name != "caption_aware"])
def test_further_choices_describe_as_all_at_once_and_any_order_does(world: Path, kind: str) -> None:
    """With more pictures than an encoder sees at once, so that blocks of pictures differ."""
    model, choices = ppd_lightning.open(Workspace(trained(world, kind)).run), noise(11, 0)
    model.describe(choices[:3])
    model.describe(noise(2, 1))
    grown = model.describe(choices[:3] + choices[3:]).vector
    at_once = ppd_lightning.open(model.folder).describe(choices).vector
    np.testing.assert_array_equal(grown, at_once)
    turned = model.describe(choices[::-1]).vector
    np.testing.assert_allclose(turned, at_once, rtol=0, atol=BOUND[kind])


@pytest.mark.parametrize("kind", [name for name in BOUND if name != "caption_aware"])
def test_the_next_pair_is_one_that_was_not_answered_until_none_is_left(world: Path, kind: str) -> None:
    model, pairs = ppd_lightning.open(Workspace(trained(world, kind)).run), noise(5, 2)
    pool = model.pool(pairs)
    choices, shown = noise(1, 3), list[int]()
    for turn in range(len(pairs)):
        shown.append(model.next_pair(choices if turn else [], pool))
        caption, one, other = pairs[shown[-1]]
        choices.append((caption, one, other) if turn % 2 else (caption, other, one))
        if turn == 1:
            assert model.next_pair(choices, pairs) == model.next_pair(choices[::-1], pool)
    assert sorted(shown) == [0, 1, 2, 3, 4]
    with pytest.raises(UserError, match="no pair of the pool is left"):
        model.next_pair(choices, pool)


def test_a_pool_needs_pairs_that_can_be_seen_and_a_kind_that_is_made_of_choices(
    world: Path, features: tuple[Config, Path]
) -> None:
    model = ppd_lightning.open(Workspace(features[0]).run)
    with pytest.raises(UserError, match="at least one pair"):
        model.next_pair([], [])
    with pytest.raises(UserError, match=r"pair 1: gone\.png: is not there"):
        model.pool([("x", "gone.png", Image.new("L", (4, 4)))])
    with pytest.raises(UserError, match="user=stated: cannot say which pair to show next: its vectors do not follow"):
        ppd_lightning.open(Workspace(trained(world, "stated")).run).pool(noise(1, 0))
