"""`ppd prepare` leads from a source to pairs and stores, the same way for every source, and again without work."""

from __future__ import annotations

import functools
import io
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
from PIL import Image
from tests import tiny
from tests.data.emoji.packages import CODES, packages
from tests.data.handmade import SIZE, jpeg, row, rows, write

from ppd_lightning.commands import prepare
from ppd_lightning.config.compose import compose
from ppd_lightning.config.schemas import Config
from ppd_lightning.data import layout
from ppd_lightning.data.emoji import source
from ppd_lightning.data.emoji.people import read_people
from ppd_lightning.data.pairs import caption_id
from ppd_lightning.data.splits import SPLITS, check_no_leak
from ppd_lightning.models.released import ReleasedModel
from ppd_lightning.rewards.image_statistics import STATISTICS, image_statistics
from ppd_lightning.run.errors import UserError
from ppd_lightning.run.folders import data_folder

Make = Callable[..., Config]


@functools.cache
def composed(*overrides: str) -> Config:
    return compose([f"data.image_size={SIZE}", *overrides])


def placed(config: Config, model: Path, output: Path) -> Config:
    return replace(config, output=str(output), model=replace(config.model, path=str(model)))


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny.model_folder(tmp_path_factory.mktemp("model"))


@pytest.fixture
def pickapic(tmp_path: Path, model: Path) -> Make:
    """A configuration for hand-made Pick-a-Pic files, which are written first."""

    def make(*overrides: str, made: list[dict[str, Any]] | None = None) -> Config:
        write(tmp_path / "source", rows() if made is None else made)
        settings = ("data=pickapic", "data.root=set below", "data.held_out_captions=0.2", "data.unseen_users=0.2")
        config = placed(composed(*settings, *overrides), model, tmp_path / "out")
        return replace(config, data=replace(config.data, root=str(tmp_path / "source")))

    return make


@pytest.fixture
def emoji(tmp_path: Path, model: Path, monkeypatch: pytest.MonkeyPatch) -> Make:
    """A configuration for a world of hand-made packages."""
    files = packages(tmp_path / "packages")
    monkeypatch.setattr(source, "fetch_packages", lambda folder: files)
    monkeypatch.setattr(source, "shipped_concepts", lambda count: list(CODES)[:count])

    def make(*overrides: str) -> Config:
        settings = [
            *("data=emoji", "data.concepts=12", "data.held_out_concepts=3", "data.people=9", "data.unseen_people=4"),
            "data.pairs_per_person=10",
        ]
        return placed(composed(*settings, *overrides), model, tmp_path / "out")

    return make


def test_counts_add_up_and_are_in_the_summary(pickapic: Make) -> None:
    tie = {"label_0": 0.5, "label_1": 0.5}
    extra = [row(900, user=1, caption="tie", **tie), row(901, user=1, caption="none", has_label=False)]
    counts = prepare.run(pickapic(made=rows() + extra))["counts"]
    assert counts["rows"] == 122
    assert (counts["ties"], counts["without_label"]) == (1, 1)
    assert counts["pairs"] == 120 == sum(counts[split] for split in SPLITS)
    assert all(counts[split] > 0 for split in SPLITS)


def test_latents_are_the_codecs_of_the_decoded_jpegs(pickapic: Make, model: Path) -> None:
    config = pickapic()
    prepare.run(config)
    released = ReleasedModel("emoji", str(model))
    store = layout.open_latents(config, released.fingerprint("encoder"))
    codec = released.load_codec()
    images = layout.read_images_table(config)["image_id"].to_pylist()
    assert len(store) == len(images)
    for image_id in images[:5]:
        with Image.open(io.BytesIO(jpeg(image_id))) as picture:
            pixels = torch.from_numpy(np.array(picture)).permute(2, 0, 1)[None].float() / 255
        latents = store.rows([image_id])["latents"]
        assert latents.dtype == np.float16
        np.testing.assert_allclose(latents[0], codec.encode(pixels)[0].numpy(), atol=2e-3, rtol=2e-3)


def test_text_states_are_the_encoders_of_the_captions(pickapic: Make, model: Path) -> None:
    config = pickapic()
    prepare.run(config)
    released = ReleasedModel("emoji", str(model))
    store = layout.open_text(config, released.fingerprint("text_encoder"), released.fingerprint("tokenizer"))
    captions = layout.read_captions(config)
    assert len(store) == len(captions) == 15
    text, pooled = released.load_text()(["thing 3"])
    rows_of_one = store.rows([caption_id("thing 3")])
    torch.testing.assert_close(torch.from_numpy(rows_of_one["text"]), text)
    torch.testing.assert_close(torch.from_numpy(rows_of_one["text_pooled"]), pooled)


def test_held_out_captions_and_unseen_users_are_only_where_they_belong(pickapic: Make) -> None:
    config = pickapic()
    prepare.run(config)
    table = layout.read_captions(config)
    held_out = set(table.filter(table["held_out"])["caption"].to_pylist())
    pairs = layout.read_pairs(config)
    check_no_leak(pairs)
    for pair in pairs.to_pylist():
        assert (pair["caption"] in held_out) == pair["split"].startswith("test_")


def test_damaged_images_are_left_out_with_their_pairs(pickapic: Make, caplog: pytest.LogCaptureFixture) -> None:
    made = [*rows(), row(900, user=1, caption="odd", jpg_1=b"damaged"), row(901, user=2, caption="odder", jpg_0=None)]
    config = pickapic(made=made)
    counts = prepare.run(config)["counts"]
    assert counts["damaged_image"] == 2
    assert counts["pairs"] == 120
    assert "2 images cannot be decoded and are left out, such as odd/round, odder/flat" in caplog.text
    assert "odd/round" not in layout.read_images_table(config)["image_id"].to_pylist()
    assert "odd" not in layout.read_captions(config)["caption"].to_pylist()


def test_scores_relabel_the_same_images_by_their_statistics(pickapic: Make) -> None:
    config = pickapic("mode=synthetic")
    counts = prepare.run(config)["counts"]
    pairs = layout.read_pairs(config).to_pylist()
    assert {pair["user_id"] for pair in pairs} == set(prepare.SCORES) <= set(STATISTICS)
    assert counts["shots"] == counts["test_unseen"] == 0
    for pair in pairs[:20]:
        values = []
        for side in ("preferred", "dispreferred"):
            with Image.open(io.BytesIO(jpeg(pair[side]))) as picture:
                pixels = torch.from_numpy(np.array(picture)).permute(2, 0, 1)[None].float() / 255
            values.append(image_statistics(pixels)[0, STATISTICS.index(pair["user_id"])])
        assert values[0] > values[1]


def test_both_labels_share_one_folder_and_its_stores(pickapic: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    people, scores = pickapic(), pickapic("mode=synthetic")
    assert data_folder(people) == data_folder(scores)
    prepare.run(people)
    monkeypatch.setattr(type(ReleasedModel("emoji", people.model.path)), "load_codec", pytest.fail)
    monkeypatch.setattr(type(ReleasedModel("emoji", people.model.path)), "load_text", pytest.fail)
    prepare.run(scores)
    by_id = {pair["pair_id"]: pair for pair in layout.read_pairs(people).to_pylist()}
    for pair in layout.read_pairs(scores).to_pylist():
        twin = by_id[pair["pair_id"]]
        assert {pair["preferred"], pair["dispreferred"]} == {twin["preferred"], twin["dispreferred"]}


def test_the_same_command_again_does_no_work(pickapic: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    config = pickapic()
    first = prepare.run(config)
    before = {path: path.stat().st_mtime_ns for path in data_folder(config).rglob("*") if path.is_file()}
    for name in ("read_rows", "encode_images", "encode_captions"):
        monkeypatch.setattr(prepare, name, pytest.fail)
    assert prepare.run(config) == first
    assert {path: path.stat().st_mtime_ns for path in data_folder(config).rglob("*") if path.is_file()} == before


@pytest.mark.parametrize(
    "lost", ["pairs-people.parquet", "images.parquet", "captions.parquet", "latents/meta.json", "text/meta.json"]
)
def test_what_is_lost_is_made_again_the_same(pickapic: Make, model: Path, lost: str) -> None:
    config = pickapic()
    first = prepare.run(config)["counts"]
    pairs = layout.read_pairs(config)
    (data_folder(config) / lost).unlink()
    assert prepare.run(config)["counts"] == first
    assert layout.read_pairs(config).equals(pairs)
    released = ReleasedModel("emoji", str(model))
    layout.open_latents(config, released.fingerprint("encoder")).verify()
    layout.open_text(config, released.fingerprint("text_encoder"), released.fingerprint("tokenizer")).verify()


def test_a_changed_source_is_noticed_and_encoded_anew(pickapic: Make) -> None:
    config = pickapic()
    prepare.run(config)
    key = layout.images_key(config)
    assert prepare.run(pickapic(made=[*rows(), row(900, user=1, caption="new")]))["counts"]["pairs"] == 121
    assert layout.images_key(config) != key


def test_another_codec_makes_the_latents_stale(pickapic: Make, tmp_path: Path) -> None:
    config = pickapic()
    prepare.run(config)
    other = tiny.model_folder(tmp_path / "other")
    tiny.codec(seed=7).save_pretrained(other / "codec")
    released = ReleasedModel("emoji", str(other))
    with pytest.raises(UserError, match=r"this store is stale \(codec was"):
        layout.open_latents(config, released.fingerprint("encoder"))
    prepare.run(placed(config, other, Path(config.output)))
    layout.open_latents(config, released.fingerprint("encoder"))


def test_a_damaged_source_is_one_clear_message(pickapic: Make) -> None:
    config = pickapic()
    path = Path(config.data.root) / "train-0.parquet"  # type: ignore[union-attr]
    path.write_bytes(path.read_bytes()[:-50])
    with pytest.raises(UserError, match=r"train-0\.parquet: damaged or no parquet file"):
        prepare.run(config)


def test_a_source_of_damaged_images_only_is_one_clear_message(pickapic: Make) -> None:
    made = [row(1, user=1, caption="odd", jpg_0=b"x", jpg_1=b"y")]
    with pytest.raises(UserError, match="none of its 2 images can be decoded"):
        prepare.run(pickapic(made=made))


def test_the_emoji_world_has_as_many_of_everything_as_asked(emoji: Make) -> None:
    config = emoji()
    counts = prepare.run(config)["counts"]
    assert (counts["rows"], counts["pairs"], counts["images"]) == (130, 130, 48)
    pairs = layout.read_pairs(config).to_pylist()
    users = {split: {pair["user_id"] for pair in pairs if pair["split"] == split} for split in SPLITS}
    assert len(users["shots"] | users["test_unseen"]) == 4
    assert len(users["train"]) == 9
    assert users["test_seen"] <= users["train"]
    assert not users["train"] & users["shots"]
    captions = layout.read_captions(config)
    assert captions["held_out"].to_pylist().count(True) == 3
    assert set(captions["caption"].to_pylist()) == set(list(CODES)[:12])


def test_emoji_images_carry_concept_and_style(emoji: Make) -> None:
    config = emoji()
    prepare.run(config)
    images = layout.read_images_table(config).to_pylist()
    styles = read_people(data_folder(config) / "people.json").styles
    assert {(image["caption"], image["model"]) for image in images} == {
        (concept, style) for concept in list(CODES)[:12] for style in styles
    }


def test_the_emoji_world_is_credited_and_its_people_kept_for_evaluation(emoji: Make) -> None:
    config = emoji()
    prepare.run(config)
    assert "CC-BY" in (data_folder(config) / "CREDITS.txt").read_text()
    people = read_people(data_folder(config) / "people.json")
    assert people.ids == tuple(str(number) for number in range(1, 14))
    assert people.statistics == STATISTICS


def test_the_emoji_world_is_the_same_every_time_and_another_with_another_seed(emoji: Make, tmp_path: Path) -> None:
    config, again = emoji(), replace(emoji(), output=str(tmp_path / "again"))
    prepare.run(config)
    prepare.run(again)
    ours, theirs = (layout.source_folder(one) / "choices.parquet" for one in (config, again))
    assert ours.read_bytes() == theirs.read_bytes()
    assert layout.read_pairs(config).equals(layout.read_pairs(again))
    other = emoji("data.seed=12345")
    prepare.run(other)
    assert data_folder(other) != data_folder(config)
    assert not layout.read_pairs(other).equals(layout.read_pairs(config))


def test_emoji_choices_are_those_of_the_people(emoji: Make) -> None:
    """With hardly any noise, everybody picks the rendering that their hidden utility puts first."""
    config = emoji("data.choice_temperature=1e-6")
    prepare.run(config)
    people = read_people(data_folder(config) / "people.json")
    table = pq.read_table(layout.source_folder(config)).to_pylist()
    shown = {row[f"image_{side}_uid"]: (row[f"model_{side}"], row[f"jpg_{side}"]) for row in table for side in (0, 1)}
    for row_of_one in table[:40]:
        liked = []
        for side in (0, 1):
            style, data = shown[row_of_one[f"image_{side}_uid"]]
            with Image.open(io.BytesIO(data)) as picture:
                pixels = torch.from_numpy(np.array(picture)).permute(2, 0, 1)[None].float() / 255
            person = people.select([str(row_of_one["user_id"])])
            standard = (image_statistics(pixels)[0].numpy() - people.centre) / people.scale
            liked.append(
                person.style_weights[0, people.styles.index(style)] + (person.statistic_weights[0] * standard).sum()
            )
        assert (liked[0] > liked[1]) == (row_of_one["label_0"] == 1.0)
