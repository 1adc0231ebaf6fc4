"""A world with generated pictures: the same bytes again, drawn once, chosen among by networks that do not judge."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
from tests.worlds.emoji import packages as handmade

from ppd_lightning.config.compose import compose, compose_each
from ppd_lightning.config.folders import data_folder, run_folder
from ppd_lightning.data.pickapic import SCHEMA
from ppd_lightning.data.pickapic_rows import read_rows
from ppd_lightning.worlds.emoji import generated, generated_choices, sides
from ppd_lightning.worlds.emoji.choices import World
from ppd_lightning.worlds.emoji.concepts import shipped_concepts
from ppd_lightning.worlds.emoji.drawers import DRAWERS, Drawer
from ppd_lightning.worlds.emoji.generated_choices import Merits, choose_generated, make_parquet
from ppd_lightning.worlds.emoji.people import make_people
from ppd_lightning.worlds.emoji.pictures import STYLES
from ppd_lightning.worlds.emoji.pool import Pool, own_weights, read_pool
from ppd_lightning.worlds.emoji.pool_oracle import PoolOracle
from ppd_lightning.worlds.emoji.sides import CHOOSING, JUDGING, Seen, Side
from ppd_lightning.worlds.emoji.source import DRAWERS as COUNTED

CONCEPTS, NOISES = 4, 2
WORLD = World(concepts=CONCEPTS, image_size=64, people=5, choices_each=8, temperature=0.3, seed=3)
MERITS = Merits(0.5, 0.5, 0.5)
STATISTICS = ("a", "b")


def picture(drawer: Drawer, caption: str, seed: int) -> np.ndarray:
    coarse = np.random.default_rng([seed, len(drawer.name), *caption.encode()]).integers(0, 256, (3, 8, 8), np.uint8)
    return coarse.repeat(8, 1).repeat(8, 2)


class Drawing:
    """Stands for the models; counts what is drawn, and breaks off after `left` units."""

    def __init__(self) -> None:
        self.units, self.left = 0, 1_000

    def __call__(self, _: object, drawer: Drawer, captions: Sequence[str], seed: int) -> np.ndarray:
        if self.units == self.left:
            raise KeyboardInterrupt
        self.units += 1
        assert torch.get_num_threads() == 1
        return np.stack([picture(drawer, caption, seed) for caption in captions])


class Glance:
    """Stands for what sees pictures: numbers that follow from the pixels."""

    def __init__(self, *_: object) -> None: ...

    def see_pixels(self, _: Sequence[str], pixels: np.ndarray) -> Seen:
        means = pixels.reshape(len(pixels), 4, -1).mean(2) / 255
        return Seen(means / means.sum(1, keepdims=True), means[:, :2])


@pytest.fixture
def drawing(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Drawing:
    fake = Drawing()
    monkeypatch.setattr(generated, "open_drawer", lambda *_: None)
    monkeypatch.setattr(generated, "draw_with", fake)
    codes = {name: f"1f6{row:02d}" for row, name in enumerate(shipped_concepts(CONCEPTS))}
    monkeypatch.setattr(handmade, "CODES", codes)
    files = handmade.packages(tmp_path / "packages")
    monkeypatch.setattr(generated_choices, "fetch_packages", lambda _: files)
    monkeypatch.setattr(generated_choices, "Side", Glance)
    return fake


def made(folder: Path, *, mixed: bool = False, workers: int = 0) -> bytes:
    make_parquet(
        folder / "data", folder, WORLD, noises=NOISES, candidates=3, merits=MERITS, mixed=mixed, workers=workers
    )
    return (folder / "data/source/choices.parquet").read_bytes()


def test_the_same_world_comes_again_byte_for_byte_and_is_drawn_once(drawing: Drawing, tmp_path: Path) -> None:
    first = made(tmp_path / "one")
    assert drawing.units == len(DRAWERS) * NOISES
    assert made(tmp_path / "two") == first
    assert drawing.units == 2 * len(DRAWERS) * NOISES
    assert made(tmp_path / "three", workers=2) == first
    # Other people, and more of the same noises: what is there is taken.
    drawing.units = 0
    few = replace(WORLD, people=2)
    folders = (tmp_path / "other", tmp_path / "one")
    make_parquet(*folders, few, noises=NOISES + 1, candidates=3, merits=MERITS, mixed=False)
    assert drawing.units == len(DRAWERS)


def test_a_killed_drawing_goes_on_where_it_was_and_a_damaged_part_is_drawn_again(
    drawing: Drawing, tmp_path: Path
) -> None:
    drawing.left = 5
    with pytest.raises(KeyboardInterrupt):
        made(tmp_path / "killed")
    assert torch.get_num_threads() == 1
    drawing.left = 1_000
    whole = made(tmp_path / "killed")
    assert drawing.units == len(DRAWERS) * NOISES
    shard = next((tmp_path / "killed/generated").glob("*/good-0.*.arrow"))
    shard.write_bytes(shard.read_bytes()[:-1] + b"x")
    (tmp_path / "killed/data/source.key").unlink()
    assert made(tmp_path / "killed") == whole
    assert drawing.units == len(DRAWERS) * NOISES + 1


@pytest.mark.usefixtures("drawing")
def test_a_mixed_world_is_published_as_pick_a_pic_is_half_of_each_kind(tmp_path: Path) -> None:
    made(tmp_path, mixed=True)
    path = tmp_path / "data/source/choices.parquet"
    assert pq.read_schema(path).remove_metadata() == SCHEMA
    assert len(read_rows(path.parent).table) == 5 * 8
    rows, pool = pq.read_table(path).to_pylist(), read_pool(tmp_path / "data")
    drawers = {drawer.name for drawer in DRAWERS}
    for row in rows:
        shown = [pool.uids.index(row[f"image_{side}_uid"]) for side in (0, 1)]
        assert shown[0] != shown[1]
        assert [pool.models[pool.model[one]] for one in shown] == [row["model_0"], row["model_1"]]
        assert {pool.concepts[pool.concept[one]] for one in shown} == {row["caption"]}
        assert {row["model_0"], row["model_1"]} <= (drawers if row["model_0"] in drawers else set(STYLES))
    of_generated = [row["user_id"] for row in rows if row["model_0"] in drawers]
    assert np.bincount(of_generated).tolist() == [0, *[4] * 5]


def test_every_drawer_is_counted() -> None:
    assert len(DRAWERS) == COUNTED
    assert not {drawer.name for drawer in DRAWERS} & set(STYLES)


def made_up_pool(seed: int = 0, concepts: int = 30, each: int = 12) -> Pool:
    """A pool of numbers alone: a vendor's picture of each concept and style, and generated ones of the same styles."""
    generator = np.random.default_rng(seed)
    drawn, count = concepts * 4, concepts * (4 + each)
    concept = np.concatenate([np.repeat(np.arange(concepts), 4), np.tile(np.arange(concepts), each)])
    style = np.concatenate([np.tile(np.arange(4), concepts), generator.integers(4, size=concepts * each)])
    styles = np.eye(4)[style]
    seen = {side: Seen(styles, generator.normal(size=(count, 2))) for side in (JUDGING, CHOOSING)}
    names = tuple(f"thing {row}" for row in range(concepts))
    return Pool(
        names,
        (*STYLES, "good"),
        tuple(map(str, range(count))),
        concept,
        np.where(np.arange(count) < drawn, style, 4),
        generator.normal(size=(count, 2)),
        seen,
        np.zeros((drawn, 3, 1, 1), np.uint8),
    )


POOL = made_up_pool()
DRAWN = POOL.statistics[: len(POOL.drawings)].reshape(30, 4, 2)
PEOPLE = make_people([f"person {row}" for row in range(60)], 5, STYLES, STATISTICS, DRAWN)


def choices(pool: Pool, merits: Merits, candidates: int = 4, each: int = 60) -> tuple[np.ndarray, ...]:
    weights = merits.weights(PEOPLE.ids, 5)
    return choose_generated(PEOPLE, pool, weights, each=each, candidates=candidates, temperature=0.3, seed=5)


def test_people_choose_by_one_side_alone() -> None:
    chosen = choices(POOL, Merits(1.0, 1.0, 0.5))
    blind = {JUDGING: made_up_pool(9).seen[JUDGING], CHOOSING: POOL.seen[CHOOSING]}
    for one, same in zip(chosen, choices(replace(POOL, seen=blind), Merits(1.0, 1.0, 0.5)), strict=True):
        np.testing.assert_array_equal(one, same)
    turned = {JUDGING: POOL.seen[CHOOSING], CHOOSING: made_up_pool(9).seen[CHOOSING]}
    assert (choices(replace(POOL, seen=turned), Merits(1.0, 1.0, 0.5))[1] != chosen[1]).mean() > 0.3


def test_the_sides_share_no_network(monkeypatch: pytest.MonkeyPatch) -> None:
    opened: list[str] = []
    load, reward = sides.load_judge, sides.OpenClipReward
    monkeypatch.setattr(sides, "load_judge", lambda name: (opened.append(name), load(name))[1])
    monkeypatch.setattr(sides, "OpenClipReward", lambda name, weights: (opened.append(name), reward(name, weights))[1])
    captions = shipped_concepts(3)
    drawings = np.stack([picture(DRAWERS[0], caption, seed) for caption in captions for seed in range(4)])
    seen = {}
    for side in (JUDGING, CHOOSING):
        opened.clear()
        one = Side(side, captions, drawings)
        seen[side] = set(opened)
        found = one.see_pixels([*captions, "no concept"], drawings[:4])
        assert found.styles.sum(1) == pytest.approx(1)
        assert found.merits[3, 0] == 0
        assert (found.merits[:3, 0] <= 0).all()
        # A vendor's picture is nearer to the vendors' than noise is.
        noise = np.random.default_rng(0).integers(0, 256, (1, 3, 64, 64), np.uint8)
        assert found.merits[0, 1] > one.see_pixels(captions[:1], noise).merits[0, 1]
    assert seen == {JUDGING: {"pixels", "concepts"}, CHOOSING: {"statistics", "emoji_clip"}}


def test_what_everybody_likes_is_chosen_more_often_the_more_they_mind() -> None:
    merits, gains = POOL.merits(CHOOSING), []
    for weight in (0.0, 0.5, 2.0):
        _, picked, other = choices(POOL, Merits(weight, 0.0, 0.0))
        gains.append((merits[picked, 0] > merits[other, 0]).mean())
    assert abs(gains[0] - 0.5) < 0.05 < gains[1] - gains[0] < gains[2] - gains[0]


def test_people_mind_by_their_own_weights() -> None:
    weights = own_weights(PEOPLE.ids, 5, (0.5, 2.0), 0.5)
    assert np.log(weights).std(0) == pytest.approx([0.5, 0.5], abs=0.12)
    np.testing.assert_array_equal(own_weights(PEOPLE.ids[7:9], 5, (0.5, 2.0), 0.5), weights[7:9])
    assert (own_weights(PEOPLE.ids, 5, (0.5, 2.0), 0.0) == (0.5, 2.0)).all()


def test_the_oracle_finds_people_out_by_their_choices() -> None:
    merits = Merits(0.2, 0.2, 0.5)
    person, picked, other = choices(POOL, merits)
    oracle, liked = PoolOracle(POOL, PEOPLE, merits, 0.3, 4, imagined=1000), []
    truth = POOL.utilities(PEOPLE, merits.weights(PEOPLE.ids, 5), CHOOSING)
    for shots in (0, 4, 40):
        own = [np.flatnonzero(person == row)[:shots] for row in range(60)]
        best = np.array([oracle.drawings_for(picked[rows], other[rows], np.arange(30)) for rows in own])
        assert (best < len(POOL.drawings)).all()
        liked.append(truth[np.arange(60)[:, None], best].mean())
    assert liked[0] + 0.3 < liked[1] < liked[2] - 0.05


def test_with_two_candidates_the_oracle_is_bayes_rule() -> None:
    oracle = PoolOracle(POOL, PEOPLE, Merits(0.5, 0.5, 0.0), 0.5, 2, imagined=50)
    picked, other = POOL.generated[[0, 31]], POOL.generated[[30, 61]]
    margin = (oracle.utility[:, picked] - oracle.utility[:, other]).astype(np.float64) / 0.5
    likelihood = (1 / (1 + np.exp(-margin))).prod(1)
    np.testing.assert_allclose(oracle.posterior(picked, other), likelihood / likelihood.sum(), rtol=1e-4)


def test_a_drawn_world_and_its_trainings_keep_their_folders() -> None:
    """As they were before there were generated pictures."""
    worlds = [[], ["data.noises=7"], ["data.images=generated"], ["data.images=generated", "data.noises=7"]]
    configs = compose_each(worlds)
    folders = [(data_folder(config).name, run_folder(config).name) for config in configs]
    assert folders[:2] == [("emoji-e45b46367bab", "ppd-features-d66e0eaf0185")] * 2
    assert len(set(folders)) == 3


def test_settings_that_make_no_world_are_refused() -> None:
    source = compose(["data.images=mixed"]).data
    for changed, message in (
        ({"image_size": 32}, r"data\.image_size: the judges .* 64 pixels, not 32"),
        ({"candidates": 40}, r"data\.candidates: 40 of 18 pictures of a concept"),
        ({"pairs_per_person": 5}, r"data\.pairs_per_person: an even number"),
        ({"noises": 9000}, r"data\.noises: 5,400,000 pictures"),
    ):
        (found,) = replace(source, **changed).contradictions()
        assert re.match(message, found)
        assert not [*replace(source, images="drawn", **changed).contradictions()]
