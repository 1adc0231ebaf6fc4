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

from ppd_lightning.backbones.adapter import base_fingerprint, save_adapter
from ppd_lightning.backbones.user_branch import attach_user_branch
from ppd_lightning.commands import generate
from ppd_lightning.config.compose import compose
from ppd_lightning.config.folders import run_folder
from ppd_lightning.config.schemas import Config
from ppd_lightning.data.prepared import captions_of, people_of
from ppd_lightning.errors import UserError
from ppd_lightning.generation import image_files
from ppd_lightning.generation.grid import as_bytes, cell_for, draw_grid
from ppd_lightning.generation.trained_run import TrainedRun, open_run
from ppd_lightning.storage import atomic
from ppd_lightning.storage.fingerprints import file_sha256

PROCESSES = multiprocessing.get_context("forkserver")  # imports once; each process is forked from a clean one
PROCESSES.set_forkserver_preload(["tests.commands.test_generate"])
CAPTIONS, SEEDS = ["a red fox", "tree", "cup"], [3, 5]
USERS = ["1", {"1": 0.3, "2": 0.7}, "2", "3"]
SETTINGS = ("generation.batch_size=5", "generation.steps=3", "generation.seeds=[3,5]", "trainer.threads=1")
IMAGES = len(CAPTIONS) * (1 + len(USERS)) * len(SEEDS)


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A prepared world with a run whose branch and moving average were made by hand."""
    folder = tiny_world.make(tmp_path_factory.mktemp("generate"))
    for name, seed in (("adapter", 0), ("adapter-ema", 1)):
        prior = tiny.unet()
        torch.manual_seed(seed)
        branch = attach_user_branch(prior, 5)
        for block in branch.blocks:
            torch.nn.init.normal_(block.to_v.weight, std=0.2)
        path = run_folder(configured(folder)) / f"{name}.safetensors"
        save_adapter(branch, path, base=base_fingerprint(prior))
    (path.parent / ".done").touch()
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
    """The bytes of every file."""
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_each_image_is_what_its_row_says(world: Path, drawn: Path) -> None:
    """Drawn again from its row alone, in a batch of one."""
    trained, rows = open_run(configured(world)), pq.read_table(drawn / "manifest.parquet").to_pylist()
    assert len(rows) == IMAGES
    assert {row["file"] for row in rows} == {str(path.relative_to(drawn)) for path in drawn.glob("images/*")}
    for row in rows:
        people = None
        if row["user"] is not None:
            blend = json.loads(row["blend"])
            people = sum(weight * trained.users([name], [row["caption"]]) for name, weight in blend.items())
        expected = as_bytes(trained.draw([row["caption"]], people, [row["seed"]]))[0]
        with Image.open(drawn / row["file"]) as image:
            assert image.size == (row["width"], row["height"])
            assert np.abs(np.asarray(image).astype(int) - expected).max() <= 1


def test_the_manifest_holds_every_combination_and_the_settings(world: Path, drawn: Path) -> None:
    rows = pq.read_table(drawn / "manifest.parquet").to_pylist()
    told = {(row["caption"], row["user"], row["blend"], row["seed"]) for row in rows}
    people = [
        (None, None),
        ("1", '{"1": 1.0}'),
        ("0.3 1 + 0.7 2", '{"1": 0.3, "2": 0.7}'),
        ("2", '{"2": 1.0}'),
        ("3", '{"3": 1.0}'),
    ]
    assert told == {(caption, *person, seed) for caption in CAPTIONS for person in people for seed in SEEDS}
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
    rows = pq.read_table(drawn / "manifest.parquet").to_pylist()
    for seed in SEEDS:
        files = [row["file"] for row in rows if row["seed"] == seed]
        pictures = [Image.open(drawn / file).convert("RGB") for file in files]
        columns = 1 + len(USERS)
        sheet = [pictures[begin : begin + columns] for begin in range(0, len(pictures), columns)]
        expected = draw_grid(sheet, CAPTIONS, ["base", "1", "0.3 1 + 0.7 2", "2", "3"], cell=cell_for(32, 3, 5))
        with Image.open(drawn / f"grid-{seed}.png") as found:
            np.testing.assert_array_equal(np.asarray(found), np.asarray(expected))


def test_users_differ_and_share_the_noise_of_their_row(drawn: Path) -> None:
    rows = pq.read_table(drawn / "manifest.parquet").to_pylist()
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


# When each process is killed, how many images are there then, and the batches that are left: of the base's 6 images and
# of the users' 24, five at once.
@pytest.mark.parametrize(
    ("kills", "left"),
    [
        ([("before", 3, 2), ("after", 6, 8), ("after", 1, 9)], [5, 5, 5, 5, 4]),
        ([("before", IMAGES, IMAGES - 1)], [4]),
        ([("after", IMAGES + 1, IMAGES), ("before", 3, IMAGES)], []),
    ],
    ids=["in the batches", "in the last image", "in the grids and the manifest"],
)
def test_a_killed_run_goes_on_to_the_same_bits_and_draws_only_what_is_missing(
    world: Path,
    drawn: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    kills: list[tuple[str, int, int]],
    left: list[int],
) -> None:
    shutil.copytree(world / "out", tmp_path / "out", ignore=shutil.ignore_patterns("generation-*"))
    config = replace(configured(world), output=str(tmp_path / "out"))
    folder = run_folder(config) / drawn.name
    expected = content(drawn)
    for moment, call, there in kills:
        process = PROCESSES.Process(target=generate_until, args=(config, moment, call))
        process.start()
        process.join()
        assert process.exitcode == -signal.SIGKILL
        images = {str(path.relative_to(folder)): path.read_bytes() for path in folder.glob("images/[0-9]*.png")}
        assert len(images) == there
        assert images.items() <= expected.items()
        assert not (folder / "summary.json").exists()
    batches: list[int] = []
    draw = TrainedRun.draw
    monkeypatch.setattr(TrainedRun, "draw", lambda self, *args: batches.append(len(args[0])) or draw(self, *args))
    generate.run(config)
    assert batches == left
    found = {name: data for name, data in content(folder).items() if not Path(name).name.startswith(".")}
    assert json.loads(found.pop("summary.json"))["images"] == json.loads(expected.pop("summary.json"))["images"]
    assert found == expected


def test_the_same_command_again_draws_nothing_and_loads_no_network(
    world: Path, drawn: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(image_files, "as_picture", None)
    monkeypatch.setattr("ppd_lightning.backbones.released.ReleasedModel.load_prior", None)
    caplog.set_level("INFO")
    before = {path: path.stat().st_mtime_ns for path in drawn.rglob("*")}
    assert generate.run(configured(world)) == {"folder": str(drawn), "images": IMAGES}
    assert {path: path.stat().st_mtime_ns for path in drawn.rglob("*")} == before
    assert "is finished" in caplog.text


def test_an_image_that_was_deleted_comes_back_bit_for_bit(world: Path, drawn: Path) -> None:
    expected = content(drawn)
    (drawn / "images/00005-001-002.png").unlink()
    generate.run(configured(world))
    assert content(drawn) == expected


def test_lines_tell_how_far_it_is(world: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO")
    summary = generate.run(configured(world, captions=["tree"], users=["4"], seeds=[1, 2]))
    lines = [record.getMessage() for record in caplog.records if "of 4 images" in record.getMessage()]
    assert lines == ["drawn 2 of 4 images", "drawn 4 of 4 images"]
    (Path(summary["folder"]) / "images/00002-000-001.png").unlink()
    caplog.clear()
    generate.run(configured(world, captions=["tree"], users=["4"], seeds=[1, 2]))
    lines = [record.getMessage() for record in caplog.records if "of 4 images" in record.getMessage()]
    assert lines == ["3 of 4 images are there already", "drawn 4 of 4 images"]


@pytest.mark.parametrize(
    "changed",
    [
        {"steps": 2},
        {"user_guidance": 1.0},
        {"decoder": "preview"},
        {"weights": "ema"},
        {"seeds": [3]},
        {"users": ["1", {"1": 0.4, "2": 0.6}, "2", "3"]},
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
        rows = pq.read_table(folder / "manifest.parquet").to_pylist()
        assert {row["weights"] for row in rows} == {weights}
        for row in rows:
            images[weights, row["user"], row["seed"]] = (folder / row["file"]).read_bytes()
        assert rows[0]["adapter"] == file_sha256(open_run(configured(world, weights=weights)).adapter)[:12]
    assert images["trained", None, 3] == images["ema", None, 3]
    assert images["trained", "1", 3] != images["ema", "1", 3]


def test_a_run_without_a_moving_average_says_how_to_have_one(world: Path, tmp_path: Path) -> None:
    config = configured(world, weights="ema")
    shutil.copytree(run_folder(config), run_folder(replace(config, output=str(tmp_path))))
    (run_folder(replace(config, output=str(tmp_path))) / "adapter-ema.safetensors").unlink()
    with pytest.raises(UserError, match=r"generation\.weights=ema: .* train with optimizer\.ema_decay, or take"):
        open_run(replace(config, output=str(tmp_path)))


def test_missing_files_and_a_missing_training_are_told_at_once(world: Path, tmp_path: Path) -> None:
    config = configured(world, f"model.path={tmp_path}")
    with pytest.raises(UserError) as caught:
        open_run(config)
    told = str(caught.value)
    assert "no finished training" in told
    for part in ("prior/config.json", "text_encoder/config.json", "tokenizer/", "scheduler/", "codec/config.json"):
        assert part in told


def test_people_who_do_not_exist_are_named_alone_and_in_blends(world: Path) -> None:
    config = configured(world, users=["1", "nobody", {"2": 0.5, "404": 0.5}])
    with pytest.raises(UserError, match=r"generation\.users: nobody in the pairs is called 404, nobody$"):
        generate.run(config)


def test_what_is_left_open_is_chosen_among_the_held_out_and_the_unseen(world: Path) -> None:
    config = configured(world, captions=None, users=None, columns=2, seeds=[0])
    rows = pq.read_table(Path(generate.run(config)["folder"]) / "manifest.parquet").to_pylist()
    assert {row["caption"] for row in rows} <= set(captions_of(config, held_out=True))
    assert {row["user"] for row in rows} - {None} <= set(people_of(config)["unseen"])
    assert len(rows) == 6
