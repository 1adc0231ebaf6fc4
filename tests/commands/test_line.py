"""The whole line on the shipped model and a world of hand-made pictures: each verb leaves what it says, once."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
from PIL import Image
from tests.worlds.emoji import packages as handmade

from ppd_lightning.commands import demo, embed, evaluate, generate, interpolate, train
from ppd_lightning.config.compose import compose
from ppd_lightning.config.folders import run_folder
from ppd_lightning.config.root import Config
from ppd_lightning.config.workspace import Workspace
from ppd_lightning.errors import UserError
from ppd_lightning.generation.gallery import read_images
from ppd_lightning.rewards import image_statistics
from ppd_lightning.worlds.emoji import choices as source
from ppd_lightning.worlds.emoji.concepts import shipped_concepts
from ppd_lightning.worlds.emoji.people import read_people

COMPARISONS = 6
SETTINGS = (
    "experiment=emoji/demo",
    "data.concepts=12",
    "data.held_out_concepts=4",
    "data.people=12",
    "data.unseen_people=6",
    "data.pairs_per_person=12",
    "shots.groupings=4",
    "trainer.max_steps=3",
    "optimizer.warmup_steps=1",
    "trainer.batch_size=4",
    "generation.steps=2",
    "generation.columns=2",
    f"evaluation.comparisons={COMPARISONS}",
)


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("line")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(handmade, "CODES", {name: f"1f6{k:02d}" for k, name in enumerate(shipped_concepts(12))})
        files = handmade.packages(folder / "packages")
        patch.setattr(source, "fetch_packages", lambda _: files)
        demo.run(configured(folder))
    return folder


def configured(folder: Path, *overrides: str) -> Config:
    seen = () if "mode=synthetic" in overrides else ("user.encoder=codec",)
    return compose([*SETTINGS, *seen, f"output={folder / 'out'}", *overrides])


def test_the_demo_leaves_a_picture_and_what_it_measured(world: Path) -> None:
    summary = json.loads((world / "out/demo/summary.json").read_text())
    assert summary["step0_loss"] == pytest.approx(0.693147, abs=1e-5)
    assert {"train", "evaluate", "total"} <= summary["seconds"].keys()
    assert summary["concept_accuracy"].keys() == {"base", "ppd"}
    assert summary["content"].keys() == {"concept_probability", "concept_likeness"}
    for means in summary["content"].values():
        assert means.keys() == {"base", "ppd", "gain"}
        for mean in means.values():
            assert mean["low"] <= mean["mean"] <= mean["high"]
        assert means["ppd"]["mean"] - means["base"]["mean"] == pytest.approx(means["gain"]["mean"], abs=2e-4)
        assert 0 <= means["base"]["mean"] <= 1
    for key in ("win_rate", "win_rate_by_statistics", "oracle_win_rate"):
        assert summary[key].keys() == {"seen", "unseen"}
        for rate in summary[key].values():
            assert rate["wins"] + rate["losses"] + rate["ties"] == rate["n"] == COMPARISONS
            assert rate["rate"] == pytest.approx((rate["wins"] + rate["ties"] / 2) / rate["n"], abs=1e-4)
            assert rate["low"] <= rate["rate"] <= rate["high"]
    for group, share in summary["share_of_possible"].items():
        own, best = (summary[key][group]["rate"] - 0.5 for key in ("win_rate", "oracle_win_rate"))
        assert share["share"] == (None if best <= 0 else pytest.approx(own / best, abs=2e-3))
    for key in ("other_taste_win_rate", "own_against_other", "preference_accuracy"):
        assert summary[key].keys() == {"seen", "unseen"}
    with Image.open(world / "out/demo/grid.png") as grid:
        assert grid.width > 5 * 64
        assert len(grid.convert("RGB").getcolors(1 << 20)) > 100


def test_another_person_judges_the_image_and_has_one_of_their_own(world: Path) -> None:
    config = configured(world)
    summary, simulation = evaluate.run(config), Workspace(config).simulation
    assert simulation is not None
    rows = pq.read_table(Path(summary["folder"]) / "comparisons.parquet").to_pylist()
    group_of = {user: group for group, users in Workspace(config).data.people().items() for user in users}
    of_kind = {
        kind: read_images([world / "out" / row[f"{kind}_image"] for row in rows]) for kind in ("base", "own", "other")
    }
    users, others = [row["user"] for row in rows], [row["other"] for row in rows]
    assert all(one != other and group_of[one] == group_of[other] for one, other in zip(users, others, strict=True))
    for people, kind, column in (
        (others, "base", "base/other_taste"),
        (others, "own", "own/other_taste"),
        (users, "other", "other/pixels"),
    ):
        expected = simulation.utilities("pixels", people, [row["caption"] for row in rows], of_kind[kind])
        assert [row[column] for row in rows] == pytest.approx(expected.tolist(), abs=1e-5)
    for key, one, other in (
        ("other_taste_win_rate", "own/other_taste", "base/other_taste"),
        ("own_against_other", "own/pixels", "other/pixels"),
    ):
        for group, rate in summary[key].items():
            margin = np.array([row[one] - row[other] for row in rows if row["group"] == group])
            assert (rate["n"], rate["wins"], rate["losses"]) == (
                COMPARISONS,
                (margin > 0.1).sum(),
                (margin < -0.1).sum(),
            )
    drawn = evaluate.run(configured(world, "evaluation.others=drawn"))
    assert drawn["other_taste_win_rate"] == summary["other_taste_win_rate"]
    assert (
        not {"other_taste_win_rate", "own_against_other"}
        & evaluate.run(configured(world, "evaluation.others=null")).keys()
    )


def test_the_same_command_again_draws_and_trains_nothing(world: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise AssertionError("work was done again")

    config = configured(world)
    before = evaluate.run(config)
    monkeypatch.setattr("ppd_lightning.generation.trained_run.TrainedRun.draw", refuse)
    monkeypatch.setattr("lightning.Trainer.fit", refuse)
    assert evaluate.run(config) == before
    assert train.run(config)["step0_loss"] == pytest.approx(0.693147, abs=1e-5)


def test_a_user_guidance_of_zero_is_the_base_so_every_comparison_is_a_tie(world: Path) -> None:
    rates = evaluate.run(configured(world, "generation.user_guidance=0"))["win_rate"]
    assert {group: rate["ties"] for group, rate in rates.items()} == {"seen": COMPARISONS, "unseen": COMPARISONS}


def test_captions_that_are_no_concepts_of_the_world_are_judged_without_concept_and_oracle(
    world: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    known = property(lambda backbone: frozenset({"A  cup"}))
    monkeypatch.setattr("ppd_lightning.worlds.emoji.backbone.EmojiBackbone.known_captions", known)
    (tmp_path / "prompts.txt").write_text("a red fox in the snow\na cup\n")
    summary = evaluate.run(configured(world, f"evaluation.captions={tmp_path / 'prompts.txt'}"))
    assert summary["win_rate"]["unseen"]["n"] == COMPARISONS
    assert not {"concept_accuracy", "content", "oracle_win_rate", "share_of_possible"} & summary.keys()
    assert "evaluation.captions: model=emoji" in caplog.text
    assert "1 of 2 captions are none of them: 'a red fox in the snow'; what it draws" in caplog.text


def test_generate_says_what_each_image_is(world: Path) -> None:
    captions, users = shipped_concepts(2), ["1", "2", "3"]
    config = configured(world)
    config = replace(config, generation=replace(config.generation, captions=captions, users=users, seeds=[5, 6]))
    folder = Path(generate.run(config)["folder"])
    rows = pq.read_table(folder / "manifest.parquet").to_pylist()
    found = {(row["caption"], row["user"], row["seed"]) for row in rows}
    assert found == {(c, u, s) for c in captions for u in [None, *users] for s in (5, 6)}
    assert len({row["file"] for row in rows}) == len(rows)
    for row in rows:
        with Image.open(folder / row["file"]) as image:
            assert image.size == (64, 64)


def test_people_who_do_not_exist_are_named(world: Path) -> None:
    config = configured(world)
    config = replace(config, generation=replace(config.generation, users=["1", "nobody", "404"]))
    with pytest.raises(UserError, match=r"generation\.users: nobody in the pairs is called 404") as caught:
        generate.run(config)
    assert "is called nobody" in str(caught.value)


def test_what_was_not_trained_cannot_be_drawn_with(world: Path) -> None:
    config = configured(world, "seed=7")
    with pytest.raises(UserError, match="run `ppd train`") as caught:
        evaluate.run(config)
    assert str(run_folder(config)) in str(caught.value)


def test_the_demos_people_are_one_for_each_favourite_style(world: Path) -> None:
    workspace = Workspace(configured(world))
    assert workspace.simulation is not None
    people = read_people(workspace.data.folder / "people.json")
    users = workspace.data.people()["unseen"]
    chosen = workspace.simulation.representatives(users)
    favourites = people.select([user for user, _ in chosen]).style_weights.argmax(1).tolist()
    assert favourites == sorted(set(people.select(users).style_weights.argmax(1).tolist()))
    for (user, name), style in zip(chosen, favourites, strict=True):
        assert name == f"person {user}\nlikes {people.styles[style]}"


def test_real_people_have_no_demo(world: Path) -> None:
    config = compose(["data=pickapic", f"data.root={world}", "data.image_size=64", f"output={world / 'real'}"])
    with pytest.raises(UserError, match="demo: needs simulated people, and those of data=pickapic are not"):
        demo.run(config)


SYNTHETIC = ("mode=synthetic", "reward=[emoji_clip,brightness,symmetry]", "optimizer.lr=2e-3")


@pytest.fixture(scope="module")
def liked(world: Path) -> dict[str, Any]:
    """The summary of the demo of synthetic users."""
    (world / "synthetic").mkdir()
    (world / "synthetic/data").symlink_to(world / "out/data")
    config = configured(world, *SYNTHETIC, f"output={world / 'synthetic'}")
    with pytest.raises(UserError, match="run `ppd label`"):
        embed.run(config)
    return demo.run(config)


def test_the_demo_shows_what_rewards_like(world: Path, liked: dict[str, Any]) -> None:
    assert {"label", "train"} <= liked["seconds"].keys()
    with Image.open(world / "synthetic/demo/grid.png") as grid:
        assert grid.width > 4 * 64


@pytest.mark.usefixtures("liked")
def test_synthetic_users_are_judged_by_their_own_rewards(world: Path) -> None:
    config = configured(world, *SYNTHETIC, f"output={world / 'synthetic'}")
    summary = evaluate.run(config)
    names = sorted(config.rewards)
    assert summary["mean_scores"].keys() == {"base", *names}
    assert summary["win_rate"].keys() == {"seen"}
    assert summary["win_rate_of_each"].keys() == set(names)
    assert sum(rate["n"] for rate in summary["win_rate_of_each"].values()) == summary["win_rate"]["seen"]["n"]
    rows = pq.read_table(Path(summary["folder"]) / "comparisons.parquet").to_pylist()
    own = [row["own_image"] for row in rows if row["user"] == "brightness"]
    for drawn, mean in ((own, "brightness"), ([row["base_image"] for row in rows], "base")):
        images = read_images([Path(config.output) / file for file in drawn])
        found = image_statistics.brightness(images).mean().item()
        assert summary["mean_scores"][mean]["brightness"] == pytest.approx(found, abs=1e-4)


@pytest.mark.usefixtures("liked")
def test_blends_are_of_the_rewards_that_are_users(world: Path) -> None:
    config = configured(
        world,
        "mode=synthetic",
        "reward=[emoji_clip,brightness,symmetry,clutter]",
        "evaluation.rewards=[clutter]",
        "optimizer.lr=2e-3",
        "interpolation.divisions=2",
        "interpolation.captions=2",
        f"output={world / 'synthetic'}",
    )
    summary = interpolate.run(config)
    assert sorted(summary["users"]) == ["brightness", "emoji_clip", "symmetry"]
    assert len(summary["points"]) == 6
    assert summary["images"] == 6 * 2
    corner = summary["points"][0]
    assert corner["weights"] == dict(zip(summary["users"], (1.0, 0.0, 0.0), strict=True))
    assert corner["scores"].keys() == set(summary["users"])
    assert (Path(summary["folder"]) / "simplex.png").is_file()
