"""Every kind of user from their choices to pictures, in a world of hand-made pictures on a tiny model."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
from safetensors.torch import load_file
from tests import tiny
from tests.rewards.tiny_rewards import CLIP, open_clip_folder
from tests.worlds.emoji import packages as handmade

from ppd_lightning.cli import main
from ppd_lightning.commands import classify, embed, evaluate, export, generate, prepare, train
from ppd_lightning.config.compose import compose
from ppd_lightning.config.root import Config
from ppd_lightning.config.workspace import Workspace
from ppd_lightning.data.pairs import caption_id, stable_ids
from ppd_lightning.errors import UserError
from ppd_lightning.users.discriminants import discriminant_axes
from ppd_lightning.users.rows import UserRows
from ppd_lightning.users.shot_features import features_of_sets, on_principal_axes
from ppd_lightning.users.shot_sets import random_sets
from ppd_lightning.users.users import Users
from ppd_lightning.worlds.emoji import choices
from ppd_lightning.worlds.emoji.concepts import shipped_concepts

SETTINGS = (
    "experiment=emoji/ppd",
    "data.concepts=12",
    "data.held_out_concepts=4",
    "data.people=8",
    "data.unseen_people=4",
    "data.pairs_per_person=12",
    "shots.n=2",
    "shots.groupings=3",
    "trainer.max_steps=2",
    "optimizer.warmup_steps=1",
    "trainer.batch_size=4",
    "trainer.threads=1",
    "generation.steps=1",
    "generation.columns=2",
    "evaluation.comparisons=4",
    "evaluation.bootstrap=20",
    "evaluation.judges=[pixels]",
)
KINDS: dict[str, tuple[str, ...]] = {
    "features": ("user=features", "user.encoder=codec", "user.components=3"),
    "diverse": ("user=features", "user.encoder=codec", "user.components=3", "shots=diverse"),
    "caption_aware": ("user=features", "user.encoder=codec", "user.components=3", "shots=caption_aware"),
    "clip": ("user=clip",),
    "clip_discriminants": ("user=clip", "user.components=4"),
    "reward": ("user=reward",),
    "types": ("user=types", "user.encoder=codec", "user.types=3"),
    "stated": ("user=stated",),
    "id": ("user=id",),
    "constant": ("user=constant",),
}
WIDTHS = {
    "features": 3,
    "diverse": 3,
    "caption_aware": 3,
    "clip": 2 * CLIP["embed_dim"],
    "clip_discriminants": 4,
    "reward": 3,
    "types": 3,
}
WIDTHS |= {"stated": tiny.POOLED_WIDTH, "id": 8, "constant": 1}


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("users")
    tiny.model_folder(folder / "base")
    open_clip_folder(folder / "clip")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(handmade, "CODES", {name: f"1f6{k:02d}" for k, name in enumerate(shipped_concepts(12))})
        files = handmade.packages(folder / "packages")
        patch.setattr(choices, "fetch_packages", lambda _: files)
        prepare.run(configured(folder, "features"))
    groups = users_of(folder, "features").data.people()
    words = ["cup", "tree", "a red fox", "b", "c", "d", "e", "g", "h", "i", "j", "k"]
    texts = dict(zip(groups["seen"] + groups["unseen"], words, strict=True))
    (folder / "texts.json").write_text(json.dumps(texts))
    return folder


def configured(folder: Path, kind: str, *overrides: str) -> Config:
    own = [*KINDS[kind]]
    if own[0] == "user=clip":
        own.append(f"rewards.emoji_clip.weights.model={folder / 'clip'}")
    if own[0] == "user=stated":
        own.append(f"user.texts={folder / 'texts.json'}")
    model = (f"model.path={folder / 'base'}", f"output={folder / 'out'}")
    return compose(
        [*own[:1], *SETTINGS, *model, *[one for one in own[1:] if one.startswith("shots=")], *own[1:], *overrides]
    )


def users_of(folder: Path, kind: str, *overrides: str) -> Users:
    return Workspace(configured(folder, kind, *overrides)).users


LONG = ("constant", "clip_discriminants", "diverse", "types")
"""Kinds of which another one of the same code is tried in the short suite."""


@pytest.mark.parametrize(
    "kind", [pytest.param(kind, marks=[pytest.mark.long] if kind in LONG else []) for kind in KINDS]
)
def test_it_trains_draws_is_judged_and_given_away(world: Path, kind: str) -> None:
    config = configured(world, kind)
    groups = users_of(world, kind).data.people()
    summary = embed.run(config)
    assert summary["width"] == WIDTHS[kind]
    assert train.run(config)["step0_loss"] == pytest.approx(0.693147, abs=1e-5)
    judged = evaluate.run(config)
    served = ["seen"] if kind == "id" else ["seen", "unseen"]
    assert list(judged["win_rate"]) == served
    assert ("not_served" in judged) == (kind == "id")
    assert ("oracle_win_rate" in judged) == (
        kind in ("features", "diverse", "caption_aware", "clip", "clip_discriminants", "reward", "types")
    )
    for measure in ("pairs", "consistency"):
        for group, thirds in judged["long_tail"][measure].items():
            assert sum(third["n"] for third in thirds.values()) == judged["win_rate"][group]["n"]
    drawn = Path(generate.run(config)["folder"])
    users = {row["user"] for row in pq.read_table(drawn / "manifest.parquet").to_pylist()} - {None}
    assert users <= set(groups["seen" if kind == "id" else "unseen"])
    given = Path(export.run(config)["folder"])
    vectors = load_file(given / "users.safetensors")
    assert {len(vector) for vector in vectors.values()} == {WIDTHS[kind]}
    card = (given / "README.md").read_text()
    assert str(world) not in card
    if kind == "caption_aware":
        assert all(" / " in name for name in vectors)
        assert "for one user and one caption" in card


@pytest.mark.parametrize("kind", ["features", "diverse", "clip", "clip_discriminants", "reward", "stated"])
def test_rows_are_standardised_over_those_who_are_trained_on(world: Path, kind: str) -> None:
    config = configured(world, kind)
    embed.run(config)
    users = Workspace(config).users
    rows = users.rows()
    seen = np.isin(rows.users, users.data.people()["seen"])
    vectors = np.asarray(rows.embeddings[:])[seen]
    deviation = vectors.std(0)
    np.testing.assert_allclose(vectors.mean(0), 0, atol=1e-3)
    assert np.isclose(deviation, 1, atol=1e-3).mean() > 0.8  # the others never differ


def test_asked_captions_get_the_nearest_choices_and_the_scale_of_training(world: Path) -> None:
    users = users_of(world, "caption_aware")
    embed.run(configured(world, "caption_aware"))
    stored = users.rows()
    assert stored.captions is not None
    pairs = users.data.read_pairs()
    caption_of = dict(zip(stable_ids(pairs["pair_id"]).tolist(), pairs["caption_id"].to_pylist(), strict=True))
    for caption, shots in zip(stored.captions, stored.shots.tolist(), strict=True):
        assert caption not in {caption_of[pair] for pair in shots}
    unseen = users.data.people()["unseen"][0]
    held_out = users.data.captions(held_out=True)
    found = users.asked([unseen] * 4 + [stored.users[0]], [*held_out[:2], held_out[0], "a new one", held_out[0]])
    np.testing.assert_array_equal(found.embeddings[0], found.embeddings[2])
    assert set(found.shots[0]) <= set(caption_of)
    # A caption that was embedded for training is described to the same vector when it is asked for.
    text = dict(zip(pairs["caption_id"].to_pylist(), pairs["caption"].cast("string").to_pylist(), strict=True))
    again = users.asked(stored.users[:3], [text[caption] for caption in stored.captions[:3]])
    np.testing.assert_allclose(again.embeddings, stored.embeddings[:3], atol=1e-5)
    np.testing.assert_array_equal(again.shots, stored.shots[:3])
    assert caption_id("a new one") not in stored.captions


def test_id_says_that_it_cannot_serve_somebody_unseen(world: Path) -> None:
    users = users_of(world, "id")
    unseen = users.data.people()["unseen"][0]
    with pytest.raises(UserError, match="cannot serve anybody else"):
        users.asked([unseen], ["x"])
    with pytest.raises(UserError, match=f"generation.users: {unseen}: user=id .* cannot serve anybody else"):
        generate.run(configured(world, "id", f"generation.users=['{unseen}']"))


def test_classification_runs_where_users_have_several_rows_and_says_so_elsewhere(
    world: Path, caplog: pytest.LogCaptureFixture
) -> None:
    for kind in ("features", "diverse", "caption_aware", "clip", "reward"):
        config = configured(world, kind, "classification.top=[1,4]", "classification.tests=2")
        embed.run(config)
        caplog.clear()
        summary = classify.run(config)
        learns = kind in ("features", "diverse", "caption_aware")
        assert summary["users"] == (10 if learns else 12)
        assert summary["learnt_of_others"] == (2 if learns else None)
        assert summary["width"] == (1 if learns else WIDTHS[kind])  # two people differ in one direction
        assert ("a smaller classification.users leaves more others" in caplog.text) == learns
        assert ("with kinds that learn of nobody at classification.users=10" in caplog.text) == learns
        assert summary["top_4"]["chance"] == pytest.approx(4 / summary["users"], abs=1e-3)
        assert 0 <= summary["top_1"]["low"] <= summary["top_1"]["rate"] <= summary["top_1"]["high"] <= 1
        assert classify.run(config) == summary
    for kind in ("stated", "id", "constant"):
        embed.run(configured(world, kind))
        with pytest.raises(UserError, match=r"classifier learns from some rows of each user .* user=features"):
            classify.run(configured(world, kind))
    embed.run(configured(world, "reward", "shots.groupings=1"))
    with pytest.raises(UserError, match=r"user=reward: .* 0 of 12 users have several; set shots.groupings above 1"):
        classify.run(configured(world, "reward", "shots.groupings=1"))


def test_those_who_are_told_apart_are_not_learnt_of(world: Path) -> None:
    """The rows that are tested are on the directions in which the others differ: a formula of Fisher's, by hand."""
    embed.run(configured(world, "features"))
    users = users_of(world, "features")
    rows, pairs = users.rows(), users.data.read_pairs()
    others = set(rows.users) - set(classify.users_with_most_pairs(users, rows, 8))
    images = on_principal_axes(users.using, "codec")[0]
    sets = random_sets(pairs, users.shots.n, users.shots.groupings)
    raw = features_of_sets(users.using, pairs, sets, images, None)
    theirs = np.array([one.user in others for one in sets])
    axes = discriminant_axes(raw[theirs], np.array([one.user for one in sets])[theirs], 3)
    own = np.flatnonzero(~theirs)
    told_apart = UserRows(tuple(rows.users[row] for row in own), rows.embeddings[own], rows.shots[own])
    found = users.vectors_learnt_of(others, told_apart)
    np.testing.assert_allclose(found, (raw @ axes)[own], rtol=1e-9, atol=1e-9)


def test_more_shots_than_somebody_has_are_refused_for_every_way_to_choose_them(world: Path) -> None:
    for kind in ("features", "diverse", "caption_aware"):
        with pytest.raises(UserError, match=r"shots\.n: 11 choices are needed .* fewer are there of"):
            embed.run(configured(world, kind, "shots.n=11"))


def test_where_nobody_has_two_sets_of_choices_it_is_said(world: Path, caplog: pytest.LogCaptureFixture) -> None:
    for groupings, said in ((2, False), (1, True)):
        caplog.clear()
        embed.run(configured(world, "features", f"shots.groupings={groupings}", "shots.n=3"))
        words = r"nobody of 8 people has two different sets of choices.* 4 pairs a person"
        assert bool(re.search(words, caplog.text)) == said


def test_another_clip_makes_embeddings_and_training_stale(world: Path) -> None:
    config = configured(world, "clip")
    embed.run(config)
    train.run(config)
    tensors = (world / "clip/open_clip_model.safetensors").read_bytes()
    try:
        open_clip_folder(world / "clip", seed=1)
        with pytest.raises(UserError, match=r"stale \(encoder was .* run `ppd embed`"):
            Workspace(config).users.rows()
        with pytest.raises(UserError, match="trained for people who were described otherwise"):
            generate.run(config)
    finally:
        (world / "clip/open_clip_model.safetensors").write_bytes(tensors)


def test_a_user_without_words_is_named(world: Path, tmp_path: Path) -> None:
    texts = json.loads((world / "texts.json").read_text())
    gone = sorted(texts)[0]
    del texts[gone]
    (tmp_path / "texts.json").write_text(json.dumps(texts))
    with pytest.raises(UserError, match=f"has no text of {gone};"):
        embed.run(configured(world, "stated", f"user.texts={tmp_path / 'texts.json'}"))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (
            ("user=clip", "rewards.emoji_clip.weights.model=nowhere"),
            "rewards.emoji_clip.weights.model: there is no file or folder nowhere; expected open_clip_config.json",
        ),
        (
            ("user=reward", "reward=[clip]", "rewards.clip.weights.model=nowhere"),
            "rewards.clip.weights.model: there is no file or folder nowhere; expected open_clip_config.json",
        ),
        (("user=stated", "user.texts=nowhere.json"), "user.texts: there is no file nowhere.json"),
    ],
)
def test_the_doctor_names_what_describes_people_and_is_missing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, settings: Any, message: str
) -> None:
    monkeypatch.setenv("COLUMNS", "200")
    (tmp_path / "source").mkdir()
    (tmp_path / "source/train.parquet").touch()
    world = ["data=pickapic", f"data.root={tmp_path / 'source'}", "data.image_size=64"]
    with pytest.raises(SystemExit):
        main(["doctor", *world, "trainer=cpu", *settings])
    assert message in " ".join(capsys.readouterr().out.split())


def test_a_row_of_a_user_depends_on_its_own_shots_alone(world: Path) -> None:
    """Described with others or alone, the vector is the same: so captions can be asked for later."""
    for kind in ("features", "clip", "reward"):
        users = users_of(world, kind)
        pairs = users.data.read_pairs()
        sets = random_sets(pairs, 2, 3)
        whole = users.kind.describe(users.using, pairs, sets)
        alone = users.kind.describe(users.using, pairs, sets[5:6])
        np.testing.assert_allclose(alone, whole[5:6], rtol=1e-5, atol=1e-6)
        assert users.folder.name.startswith(f"users-{kind}-")
        assert torch.isfinite(torch.from_numpy(whole)).all()
