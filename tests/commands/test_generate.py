"""`ppd generate` on a tiny model: each image is what the manifest says, drawn once, whenever the process was killed."""

from __future__ import annotations

import json
import multiprocessing
import os
import shutil
import signal
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
from PIL import Image
from tests import tiny
from tests.training import tiny_world

from ppd_lightning.backbones.adapter import save_adapter
from ppd_lightning.backbones.base_fingerprint import base_fingerprint
from ppd_lightning.commands import generate
from ppd_lightning.config.compose import compose
from ppd_lightning.config.folders import run_folder
from ppd_lightning.config.root import Config
from ppd_lightning.config.workspace import Workspace
from ppd_lightning.errors import UserError
from ppd_lightning.evaluation.comparisons.images import BASE, OWN, draw_comparisons
from ppd_lightning.evaluation.comparisons.selection import Comparison
from ppd_lightning.generation import gallery
from ppd_lightning.generation.grid import as_bytes, cell_for, draw_grid
from ppd_lightning.generation.trained_run import TrainedRun
from ppd_lightning.settings.values import Share
from ppd_lightning.storage import atomic
from ppd_lightning.storage.checksums import SUMS
from ppd_lightning.storage.fingerprints import file_sha256
from ppd_lightning.storage.finished_run import mark_finished

PROCESSES = multiprocessing.get_context("forkserver")  # imports once; each process is forked from a clean one
PROCESSES.set_forkserver_preload(["tests.commands.test_generate"])
CAPTIONS, SEEDS = ["a red fox", "tree", "cup"], [3, 5]
USERS = ["1", [Share(user="1", weight=0.3), Share(user="2", weight=0.7)], "2", "3"]
SETTINGS = ("generation.batch_size=5", "generation.steps=3", "generation.seeds=[3,5]", "trainer.threads=1")
IMAGES = len(CAPTIONS) * (1 + len(USERS)) * len(SEEDS)


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A prepared world with a run whose branch and moving average were made by hand."""
    folder = tiny_world.make(tmp_path_factory.mktemp("generate"))
    for name, seed in (("adapter", 0), ("adapter-ema", 1)):
        network = tiny.unet()
        torch.manual_seed(seed)
        branch = tiny.backbone().attach(network, 5)
        for block in branch.blocks:
            torch.nn.init.normal_(block.to_v.weight, std=0.2)
        path = run_folder(configured(folder)) / f"{name}.safetensors"
        save_adapter(branch, path, base=base_fingerprint(network))
    mark_finished(path.parent)
    return folder


def configured(world: Path, *overrides: str, **generation: Any) -> Config:
    config = compose([*tiny_world.overrides(world, world / "out"), *SETTINGS, *overrides])
    chosen = {"captions": CAPTIONS, "users": USERS} | generation
    return replace(config, generation=replace(config.generation, **chosen))


@pytest.fixture(scope="module")
def drawn(world: Path) -> Path:
    """The folder of an undisturbed run."""
    return Path(generate.run(configured(world))["folder"])


def content(folder: Path) -> dict[str, bytes]:
    """The bytes of every file, and of the images that its manifest names."""
    files = {str(path.relative_to(folder)): path.read_bytes() for path in folder.iterdir() if path.name[0] != "."}
    if "manifest.parquet" in files:
        files |= {row["file"]: (folder / row["file"]).read_bytes() for row in rows_of(folder)}
    return files


def rows_of(folder: Path) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = pq.read_table(folder / "manifest.parquet").to_pylist()
    return rows


def images_of(output: Path) -> dict[str, bytes]:
    """The bytes of the images of all galleries."""
    return {str(path.relative_to(output)): path.read_bytes() for path in output.rglob(f"{'[0-9a-f]' * 32}.png")}


def test_each_image_is_what_its_row_says(world: Path, drawn: Path) -> None:
    """Drawn again from its row alone, in a batch of one."""
    trained, rows = Workspace(configured(world)).trained_run(), rows_of(drawn)
    assert len({row["file"] for row in rows}) == len(rows) == IMAGES
    for row in rows:
        people = None
        if row["user"] is not None:
            blend = json.loads(row["blend"])
            people = sum(weight * trained.embeddings([name], [row["caption"]]) for name, weight in blend.items())
        expected = as_bytes(trained.draw([row["caption"]], people, [row["seed"]]))[0]
        with Image.open(drawn / row["file"]) as image:
            assert image.size == (row["width"], row["height"])
            assert np.abs(np.asarray(image).astype(int) - expected).max() <= 1


def test_the_manifest_holds_every_combination_and_the_settings(world: Path, drawn: Path) -> None:
    rows = rows_of(drawn)
    found = {(row["caption"], row["user"], row["blend"], row["seed"]) for row in rows}
    people = [
        (None, None),
        ("1", '{"1": 1.0}'),
        ("0.3 1 + 0.7 2", '{"1": 0.3, "2": 0.7}'),
        ("2", '{"2": 1.0}'),
        ("3", '{"3": 1.0}'),
    ]
    assert found == {(caption, *person, seed) for caption in CAPTIONS for person in people for seed in SEEDS}
    run = run_folder(configured(world))
    same = {
        "steps": 3,
        "text_guidance": 4.0,
        "user_guidance": 2.0,
        "interval": [0.0, 1.0],
        "decoder": "full",
        "weights": "trained",
        "width": 32,
        "height": 32,
        "run": run.name,
        "adapter": file_sha256(run / "adapter.safetensors")[:12],
    }
    assert all({name: row[name] for name in same} == same for row in rows)


def test_a_grid_is_composed_of_the_images_that_were_written(drawn: Path) -> None:
    rows = rows_of(drawn)
    for seed in SEEDS:
        files = [row["file"] for row in rows if row["seed"] == seed]
        pictures = [Image.open(drawn / file).convert("RGB") for file in files]
        columns = 1 + len(USERS)
        sheet = [pictures[begin : begin + columns] for begin in range(0, len(pictures), columns)]
        expected = draw_grid(sheet, CAPTIONS, ["base", "1", "0.3 1 + 0.7 2", "2", "3"], cell=cell_for(32, 3, 5))
        with Image.open(drawn / f"grid-{seed}.png") as found:
            np.testing.assert_array_equal(np.asarray(found), np.asarray(expected))


def test_users_differ_and_share_the_noise_of_their_row(drawn: Path) -> None:
    rows = rows_of(drawn)
    images = np.stack([np.asarray(Image.open(drawn / row["file"])) for row in rows])
    assert len({image.tobytes() for image in images}) == IMAGES


def generate_until(config: Config, moment: str, call: int) -> None:
    """Run the command; die at the `call`th image, before its file takes its place or after."""
    calls = 0
    replace_file = os.replace

    def fatal(source: Path, target: Path) -> None:
        nonlocal calls
        calls += 1
        if calls == call and moment == "before":
            os.kill(os.getpid(), signal.SIGKILL)
        replace_file(source, target)
        if calls == call:
            os.kill(os.getpid(), signal.SIGKILL)

    atomic.os.replace = fatal
    generate.run(config)


# When each process is killed, how many images are there then, and the sizes of the batches that may be left: of the
# base's 6 images and of the users' 24, five at once, in an order of each process's own. A batch that lacks an image is
# drawn whole.
@pytest.mark.parametrize(
    ("kills", "left"),
    [
        ([("before", 3, 2), ("after", 6, 8), ("after", 1, 9)], [[4, 5, 5, 5, 5]]),
        ([("before", IMAGES, IMAGES - 1)], [[4], [5]]),
        ([("after", IMAGES + 1, IMAGES), ("before", 3, IMAGES)], [[]]),
    ],
    ids=["in the batches", "in the last image", "in the grids and the manifest"],
)
def test_a_killed_run_goes_on_to_the_same_bits_and_draws_only_what_is_missing(
    world: Path,
    drawn: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    kills: list[tuple[str, int, int]],
    left: list[list[int]],
) -> None:
    leftovers = shutil.ignore_patterns("generation-*", "images-*", "base-*")
    shutil.copytree(world / "out", tmp_path / "out", ignore=leftovers)
    config = replace(configured(world), output=str(tmp_path / "out"))
    folder = run_folder(config) / drawn.name
    expected = content(drawn)
    finished = images_of(world / "out")
    for moment, call, there in kills:
        process = PROCESSES.Process(target=generate_until, args=(config, moment, call))
        process.start()
        process.join()
        assert process.exitcode == -signal.SIGKILL
        images = images_of(tmp_path / "out")
        assert len(images) == there
        assert images.items() <= finished.items()
        assert not (folder / "summary.json").exists()
    batches: list[int] = []
    draw = TrainedRun.draw
    monkeypatch.setattr(TrainedRun, "draw", lambda self, *args: batches.append(len(args[0])) or draw(self, *args))
    generate.run(config)
    assert sorted(batches) in left
    found = content(folder)
    del found[SUMS], expected[SUMS]  # the summaries have folders of their own
    assert json.loads(found.pop("summary.json"))["images"] == json.loads(expected.pop("summary.json"))["images"]
    assert found == expected


def test_the_same_command_again_draws_nothing_and_loads_no_network(
    world: Path, drawn: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(gallery, "as_picture", None)
    monkeypatch.setattr("ppd_lightning.worlds.emoji.backbone.EmojiBackbone.load_network", None)
    caplog.set_level("INFO")
    before = {path: path.stat().st_mtime_ns for path in (world / "out").rglob("*")}
    assert generate.run(configured(world)) == {"folder": str(drawn), "images": IMAGES}
    assert {path: path.stat().st_mtime_ns for path in (world / "out").rglob("*")} == before
    assert "is finished" in caplog.text


def test_captions_that_the_model_does_not_read_or_know_are_named(
    world: Path, drawn: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    known = property(lambda backbone: frozenset({"tree"}))
    monkeypatch.setattr("ppd_lightning.worlds.emoji.backbone.EmojiBackbone.known_captions", known)
    generate.run(configured(world))
    assert "generation.captions: 1 of 3 captions are longer than the " in caplog.text
    assert "2 of 3 captions are none of them: 'a red fox', 'cup'; what it draws" in caplog.text


def test_an_image_that_was_deleted_comes_back_bit_for_bit(world: Path, drawn: Path) -> None:
    expected = content(drawn)
    (drawn / rows_of(drawn)[17]["file"]).unlink()
    generate.run(configured(world))
    assert content(drawn) == expected


def test_the_log_says_how_many_are_drawn(world: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO")
    config = configured(world, captions=["tree"], users=["4"], seeds=[1, 2])
    folder = Path(generate.run(config)["folder"])
    (folder / rows_of(folder)[1]["file"]).unlink()
    generate.run(config)
    lines = [message.partition(",")[0] for message in caplog.messages if message.startswith("images ")]
    assert lines == ["images 2/2", "images 2/2", "images 2/2"]  # the base's, the user's, and again the user's


def test_evaluate_and_generate_share_their_images(world: Path, drawn: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    trained = Workspace(configured(world)).trained_run()
    monkeypatch.setattr(TrainedRun, "draw", None)
    comparisons = [Comparison("seen", "1", caption, seed) for seed in SEEDS for caption in CAPTIONS]
    images = draw_comparisons(trained, comparisons)
    files = {(row["caption"], row["user"], row["seed"]): (drawn / row["file"]).resolve() for row in rows_of(drawn)}
    for kind, user in ((BASE, None), (OWN, "1")):
        for one, file in zip(comparisons, images[kind].files, strict=True):
            assert file.resolve() == files[one.caption, user, one.seed]


@pytest.mark.parametrize(
    "changed",
    [
        {"steps": 2},
        {"user_guidance": 1.0},
        {"decoder": "preview"},
        {"weights": "ema"},
        {"seeds": [3]},
        {"users": ["1", [Share(user="1", weight=0.4), Share(user="2", weight=0.6)], "2", "3"]},
    ],
    ids=str,
)
def test_other_settings_have_a_folder_of_their_own(world: Path, drawn: Path, changed: dict[str, Any]) -> None:
    small = {"captions": ["tree"]} | changed
    first, second = (Path(generate.run(configured(world, **small))["folder"]) for _ in range(2))
    other = Path(generate.run(configured(world, captions=["tree"]))["folder"])
    assert first == second
    assert len({first, other, drawn}) == 3


def test_how_many_are_chosen_does_not_count_where_they_are_named(world: Path, drawn: Path) -> None:
    assert generate.run(configured(world, columns=1))["folder"] == str(drawn)


def test_the_moving_average_draws_other_images(world: Path) -> None:
    images = {}
    for weights in ("trained", "ema"):
        folder = Path(generate.run(configured(world, captions=["tree"], weights=weights))["folder"])
        rows = rows_of(folder)
        assert {row["weights"] for row in rows} == {weights}
        for row in rows:
            images[weights, row["user"], row["seed"]] = (folder / row["file"]).read_bytes()
        assert (
            rows[0]["adapter"] == file_sha256(Workspace(configured(world, weights=weights)).trained_run().adapter)[:12]
        )
    assert images["trained", None, 3] == images["ema", None, 3]
    assert images["trained", "1", 3] != images["ema", "1", 3]


def test_a_run_without_a_moving_average_says_how_to_have_one(world: Path, tmp_path: Path) -> None:
    config = configured(world, weights="ema")
    shutil.copytree(run_folder(config), run_folder(replace(config, output=str(tmp_path))))
    (run_folder(replace(config, output=str(tmp_path))) / "adapter-ema.safetensors").unlink()
    mark_finished(run_folder(replace(config, output=str(tmp_path))))
    with pytest.raises(UserError, match=r"generation\.weights=ema: .* train with optimizer\.ema_decay, or take"):
        Workspace(replace(config, output=str(tmp_path))).trained_run()


def test_missing_files_and_a_missing_training_are_named_at_once(world: Path, tmp_path: Path) -> None:
    config = configured(world, f"model.path={tmp_path}")
    with pytest.raises(UserError) as caught:
        Workspace(config).trained_run()
    faults = str(caught.value)
    assert "no finished training" in faults
    for part in ("prior/config.json", "text_encoder/config.json", "tokenizer/", "scheduler/", "codec/config.json"):
        assert part in faults


def test_people_who_do_not_exist_are_named_alone_and_in_blends(world: Path) -> None:
    config = configured(
        world, users=["1", "nobody", "1e0", [Share(user="2", weight=0.5), Share(user="404", weight=0.5)]]
    )
    with pytest.raises(UserError) as caught:
        generate.run(config)
    named = [fault.removeprefix("generation.users: nobody in the pairs is called ") for fault in caught.value.faults]
    assert [fault.partition(";")[0] for fault in named] == ["1e0", "404", "nobody"]
    assert named[0] == "1e0; did you mean 1?"


def test_what_is_left_open_is_chosen_among_the_held_out_and_the_unseen(world: Path) -> None:
    config = configured(world, captions=None, users=None, columns=2, seeds=[0])
    rows, data = rows_of(Path(generate.run(config)["folder"])), Workspace(config).data
    assert {row["caption"] for row in rows} <= set(data.captions(held_out=True))
    assert {row["user"] for row in rows} - {None} <= set(data.people()["unseen"])
    assert len(rows) == 6
