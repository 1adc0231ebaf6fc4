"""`ppd prepare` leads from a source to pairs and stores, the same way for every source, and again without work."""

from __future__ import annotations

import csv
import functools
import io
import json
import multiprocessing
import signal
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import fsspec
import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
from PIL import Image
from tests import tiny
from tests.data.handmade import SIZE, flip_byte, jpeg, row, rows, write
from tests.killing import killed_at
from tests.worlds.emoji.packages import CODES, packages

from ppd_lightning.commands import prepare
from ppd_lightning.config.compose import compose
from ppd_lightning.config.folders import data_folder
from ppd_lightning.config.root import Config
from ppd_lightning.config.workspace import Workspace
from ppd_lightning.data import quarantine
from ppd_lightning.data.pairs import caption_id
from ppd_lightning.data.splits import SPLITS, check_no_leak
from ppd_lightning.errors import UserError
from ppd_lightning.rewards.image_statistics import STATISTICS, image_statistics
from ppd_lightning.worlds.emoji import choices
from ppd_lightning.worlds.emoji.backbone import EmojiBackbone
from ppd_lightning.worlds.emoji.people import read_people

Make = Callable[..., Config]

PROCESSES = multiprocessing.get_context("forkserver")
PROCESSES.set_forkserver_preload([__name__, "ppd_lightning.commands.prepare"])


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
    monkeypatch.setattr(choices, "fetch_packages", lambda folder: files)
    monkeypatch.setattr(choices, "shipped_concepts", lambda count: list(CODES)[:count])

    def make(*overrides: str) -> Config:
        settings = [
            *("data=emoji", "data.concepts=12", "data.held_out_concepts=3", "data.people=9", "data.unseen_people=4"),
            "data.pairs_per_person=10",
        ]
        return placed(composed(*settings, *overrides), model, tmp_path / "out")

    return make


def ties() -> list[dict[str, Any]]:
    return [one | {"label_0": 0.5, "label_1": 0.5} for one in rows()]


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
    store = Workspace(config).data.open_latents()
    codec = config.model.load_codec()
    images = Workspace(config).data.images_table()["image_id"].to_pylist()
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
    store = Workspace(config).data.open_text()
    captions = Workspace(config).data.captions_table()
    assert len(store) == len(captions) == 15
    encoded = config.model.load_text()(["thing 3"])
    assert set(encoded) == {"text", "text_pooled"}
    rows_of_one = store.rows([caption_id("thing 3")])
    for name, states in encoded.items():
        assert rows_of_one[name].dtype == np.float16
        np.testing.assert_allclose(rows_of_one[name], states.numpy(), atol=2e-3, rtol=2e-3)


def test_held_out_captions_and_unseen_users_are_only_where_they_belong(pickapic: Make) -> None:
    config = pickapic()
    prepare.run(config)
    table = Workspace(config).data.captions_table()
    held_out = set(table.filter(table["held_out"])["caption"].to_pylist())
    pairs = Workspace(config).data.read_pairs()
    check_no_leak(pairs)
    for pair in pairs.to_pylist():
        assert (pair["caption"] in held_out) == pair["split"].startswith("test_")


def test_damaged_images_are_left_out_with_their_pairs(pickapic: Make, caplog: pytest.LogCaptureFixture) -> None:
    made = [*rows(), row(900, user=1, caption="odd", jpg_1=b"damaged"), row(901, user=2, caption="odder", jpg_0=None)]
    config = pickapic(made=made)
    counts = prepare.run(config)["counts"]
    assert counts["damaged_image"] == 2
    assert counts["pairs"] == 120
    assert "2 of 122 rows cannot be used (damaged image 2; the first is row 20 of row group 2 of" in caplog.text
    listed = pq.read_table(data_folder(config) / quarantine.FILE).to_pylist()
    reasons = ["odd/round is a text and no image that can be read", "odder/flat is empty"]
    assert listed == [
        {"file": "train-0.parquet", "row_group": 2, "row": row, "reason": reason}
        for row, reason in zip((20, 21), reasons, strict=True)
    ]
    assert "odd/round" not in Workspace(config).data.images_table()["image_id"].to_pylist()
    assert "odd" not in Workspace(config).data.captions_table()["caption"].to_pylist()


def test_too_many_damaged_images_stop_the_command_and_are_listed(pickapic: Make) -> None:
    made = [*rows(), row(900, user=1, caption="odd", jpg_1=b"damaged")]
    config = pickapic("data.max_unusable=0", made=made)
    with pytest.raises(UserError, match=r"1 of 121 rows cannot be used \(damaged image 1.*data\.max_unusable=0"):
        prepare.run(config)
    assert len(pq.read_table(data_folder(config) / quarantine.FILE)) == 1
    allowed = replace(config, data=replace(config.data, max_unusable=0.01))
    assert prepare.run(allowed)["counts"]["damaged_image"] == 1


def test_people_with_few_pairs_are_left_out_and_counted(pickapic: Make) -> None:
    made = [*rows(), *(row(900 + n, user=99, caption=f"thing {n}") for n in range(3))]
    config = pickapic(made=made)
    counts = prepare.run(config)["counts"]
    assert (counts["users_with_few_pairs"], counts["few_pairs"], counts["pairs"]) == (1, 3, 120)
    assert "99" not in Workspace(config).data.read_pairs()["user_id"].to_pylist()


def test_a_source_in_memory_is_prepared_as_one_on_disk(pickapic: Make, tmp_path: Path) -> None:
    config = pickapic()
    counts = prepare.run(config)["counts"]
    memory = fsspec.filesystem("memory")
    memory.pipe("/bucket/deep/train-0.parquet", (tmp_path / "source/train-0.parquet").read_bytes())
    elsewhere = replace(config, data=replace(config.data, root="memory://bucket/deep", files="*.parquet"))
    assert prepare.run(elsewhere)["counts"] == counts
    assert Workspace(elsewhere).data.images_key() == Workspace(config).data.images_key()
    assert Workspace(elsewhere).data.read_pairs().equals(Workspace(config).data.read_pairs())


def test_ones_own_table_is_prepared_as_pickapic_is(tmp_path: Path, model: Path) -> None:
    listed = [{"caption": r["caption"], "choice": 0, "user": f"user {r['user_id']}"} for r in rows()]
    (tmp_path / "mine").mkdir()
    for choice, made in zip(listed, rows(), strict=True):
        for side in (0, 1):
            name = made[f"image_{side}_uid"].replace("/", " ") + ".jpg"
            (tmp_path / "mine" / name).write_bytes(made[f"jpg_{side}"])
            choice[f"image_{side}"] = name
    with (tmp_path / "mine/pairs.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, listed[0])
        writer.writeheader()
        writer.writerows(listed)
    config = placed(composed("data=folder", f"data.table={tmp_path}/mine/pairs.csv"), model, tmp_path / "out")
    counts = prepare.run(config)["counts"]
    assert (counts["rows"], counts["images"], counts["damaged_image"]) == (120, 45, 0)
    pairs = Workspace(config).data.read_pairs()
    assert {user.split()[0] for user in pairs["user_id"].to_pylist()} == {"user"}
    latents = Workspace(config).data.open_latents()
    assert len(latents.rows(pairs["preferred"])["latents"]) == len(pairs) > 100


def test_workers_change_nothing(pickapic: Make, tmp_path: Path) -> None:
    config = pickapic()
    prepare.run(config)
    other = replace(config, output=str(tmp_path / "other"), data=replace(config.data, workers=2))
    prepare.run(other)
    assert bytes_of(other) == bytes_of(config)


def test_kill_9_again_and_again_ends_with_the_same_bytes(pickapic: Make, tmp_path: Path) -> None:
    config = pickapic()
    prepare.run(config)
    other, ends = replace(config, output=str(tmp_path / "other")), []
    while not ends or (ends[-1] == -signal.SIGKILL and len(ends) < 10):
        process = PROCESSES.Process(target=killed_at, args=(9, prepare.run, other))
        process.start()
        process.join(60)
        ends.append(process.exitcode)
    assert ends[-1] == 0
    assert len(ends) > 2
    assert bytes_of(other) == bytes_of(config)


def test_two_at_once_end_with_the_same_bytes(pickapic: Make, tmp_path: Path) -> None:
    config = pickapic()
    prepare.run(config)
    other = replace(config, output=str(tmp_path / "other"))
    processes = [PROCESSES.Process(target=prepare.run, args=(other,)) for _ in range(2)]
    for process in processes:
        process.start()
    for process in processes:
        process.join(60)
        assert process.exitcode == 0
    assert bytes_of(other) == bytes_of(config)


def bytes_of(config: Config) -> dict[str, Any]:
    """What was made, but for hidden files, which a killed process leaves, and the seconds that it took."""
    folder = data_folder(config)
    made: dict[str, Any] = {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("[!.]*.*")}
    told = json.loads(made.pop(str(Workspace(config).data.summary_path.relative_to(folder))))
    return made | {"key": told["key"], "counts": told["summary"]["counts"]}


@pytest.mark.parametrize("setting", ["min_pairs=8", "held_out_captions=0.3", "unseen_users=0.4", "validation=0.2"])
def test_other_splits_encode_nothing_again(pickapic: Make, monkeypatch: pytest.MonkeyPatch, setting: str) -> None:
    first, other = pickapic(), pickapic(f"data.{setting}")
    prepare.run(first)
    before = Workspace(first).data.read_pairs()
    for name in ("load_codec", "load_text"):
        monkeypatch.setattr(EmojiBackbone, name, pytest.fail)
    prepare.run(other)
    assert not Workspace(other).data.read_pairs().equals(before)
    assert Workspace(first).data.read_pairs().equals(before)


def test_where_no_pair_is_left_it_is_said_before_the_long_work(pickapic: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(prepare, "encode_images", pytest.fail)
    for made, why in ((rows(), "add choices of the same people, or lower data.min_pairs"), (ties(), "add choices in")):
        with pytest.raises(UserError, match=rf"none of \d+ rows became a pair \(.*; {why}"):
            prepare.run(pickapic("data.min_pairs=100", made=made))


def test_both_modes_are_prepared_alike(pickapic: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    """What rewards label is people's images and splits; their labels come after."""
    people, synthetic = pickapic(), pickapic("mode=synthetic")
    first = prepare.run(people)
    monkeypatch.setattr(prepare, "read_rows", pytest.fail)
    assert prepare.run(synthetic) == first


def test_the_same_command_again_does_no_work(pickapic: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    config = pickapic()
    first = prepare.run(config)
    before = {path: path.stat().st_mtime_ns for path in data_folder(config).rglob("*") if path.is_file()}
    for name in ("read_rows", "encode_images", "encode_captions"):
        monkeypatch.setattr(prepare, name, pytest.fail)
    assert prepare.run(config) == first
    assert {path: path.stat().st_mtime_ns for path in data_folder(config).rglob("*") if path.is_file()} == before


@pytest.mark.parametrize(
    "lost", ["splits-*/pairs.arrow", "images.arrow", "splits-*/captions.arrow", "latents/meta.json", "text/meta.json"]
)
def test_what_is_lost_is_made_again_the_same(pickapic: Make, model: Path, lost: str) -> None:
    config = pickapic()
    first = prepare.run(config)["counts"]
    pairs = Workspace(config).data.read_pairs()
    (only,) = data_folder(config).glob(lost)
    only.unlink()
    assert prepare.run(config)["counts"] == first
    assert Workspace(config).data.read_pairs().equals(pairs)
    Workspace(config).data.open_latents().verify()
    Workspace(config).data.open_text().verify()


@pytest.mark.parametrize("store", ["latents", "text"])
def test_what_was_written_to_since_is_compared_and_made_again_the_same(
    pickapic: Make, store: str, caplog: pytest.LogCaptureFixture
) -> None:
    config = pickapic()
    prepare.run(config)
    shard = max(data_folder(config).glob(f"{store}/*.arrow"))
    sound = shard.read_bytes()
    flip_byte(shard, len(sound) // 2)
    prepare.run(config)
    assert f"{shard}: damaged (its checksum differs); it is made again" in caplog.text
    assert shard.read_bytes() == sound


def test_a_changed_source_is_noticed_and_encoded_anew(pickapic: Make) -> None:
    config = pickapic()
    prepare.run(config)
    key = Workspace(config).data.images_key()
    assert prepare.run(pickapic(made=[*rows(), row(900, user=1, caption="new")]))["counts"]["pairs"] == 121
    assert Workspace(config).data.images_key() != key


def test_another_codec_makes_the_latents_stale(pickapic: Make, tmp_path: Path) -> None:
    config = pickapic()
    prepare.run(config)
    other = tiny.model_folder(tmp_path / "other")
    tiny.codec(seed=7).save_pretrained(other / "codec")
    changed = placed(config, other, Path(config.output))
    with pytest.raises(UserError, match=r"this store is stale \(codec was"):
        Workspace(changed).data.open_latents()
    prepare.run(changed)
    Workspace(changed).data.open_latents()


def test_a_damaged_source_is_one_clear_message(pickapic: Make) -> None:
    config = pickapic()
    path = Path(config.data.root) / "train-0.parquet"
    path.write_bytes(path.read_bytes()[:-50])
    with pytest.raises(UserError, match=r"train-0\.parquet: damaged or no parquet file"):
        prepare.run(config)


def test_a_source_of_damaged_images_only_is_one_clear_message(pickapic: Make) -> None:
    made = [row(number, user=1, caption=f"odd {number}", jpg_0=b"x", jpg_1=b"y") for number in range(20)]
    with pytest.raises(UserError, match=r"none of its 40 images can be decoded; odd \d+/flat is a text and no image"):
        prepare.run(pickapic(made=made))


def test_the_emoji_world_has_as_many_of_everything_as_asked(emoji: Make) -> None:
    config = emoji()
    counts = prepare.run(config)["counts"]
    assert (counts["rows"], counts["pairs"], counts["images"]) == (130, 130, 48)
    pairs = Workspace(config).data.read_pairs().to_pylist()
    users = {split: {pair["user_id"] for pair in pairs if pair["split"] == split} for split in SPLITS}
    assert len(users["shots"] | users["test_unseen"]) == 4
    assert len(users["train"]) == 9
    assert users["test_seen"] <= users["train"]
    assert not users["train"] & users["shots"]
    captions = Workspace(config).data.captions_table()
    assert captions["held_out"].to_pylist().count(True) == 3
    assert set(captions["caption"].to_pylist()) == set(list(CODES)[:12])


def test_emoji_images_carry_concept_and_style(emoji: Make) -> None:
    config = emoji()
    prepare.run(config)
    images = Workspace(config).data.images_table().to_pylist()
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
    ours, theirs = (Path(Workspace(one).data.source.root) / "choices.parquet" for one in (config, again))
    assert ours.read_bytes() == theirs.read_bytes()
    assert Workspace(config).data.read_pairs().equals(Workspace(again).data.read_pairs())
    other = emoji("data.seed=12345")
    prepare.run(other)
    assert data_folder(other) != data_folder(config)
    assert not Workspace(other).data.read_pairs().equals(Workspace(config).data.read_pairs())


def test_emoji_choices_are_those_of_the_people(emoji: Make) -> None:
    """With hardly any noise, everybody picks the rendering that their hidden utility puts first."""
    config = emoji("data.choice_temperature=1e-6")
    prepare.run(config)
    people = read_people(data_folder(config) / "people.json")
    table = pq.read_table(Workspace(config).data.source.root).to_pylist()
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
