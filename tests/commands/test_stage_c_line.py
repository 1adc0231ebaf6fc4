"""The whole line on Stable Cascade's own classes and file layout: each part tiny, or random where it has one size."""

from __future__ import annotations

import json
from pathlib import Path

import pyarrow.parquet as pq
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file
from tests import tiny
from tests.data.handmade import rows, write

from ppd_lightning.commands import embed, export, generate, prepare, train
from ppd_lightning.config.compose import compose
from ppd_lightning.config.folders import run_folder
from ppd_lightning.config.root import Config
from ppd_lightning.config.workspace import Workspace
from ppd_lightning.errors import UserError

SIDE = 128  # pixels: latents of 4 x 4


def configured(folder: Path, *overrides: str) -> Config:
    settings = (
        "experiment=paper/real",
        f"data.root={folder / 'source'}",
        f"data.image_size={SIDE}",
        "data.held_out_captions=0.2",
        "data.unseen_users=0.2",
        f"model.path={folder / 'model'}",
        "user.encoder=codec",
        "shots.n=2",
        "shots.groupings=4",
        "user.components=5",
        "trainer.accelerator=cpu",
        "trainer.max_steps=2",
        "trainer.batch_size=4",
        "trainer.micro_batch_size=2",
        "trainer.preview_every=1",
        "optimizer.ema_decay=0.9",
        "generation.steps=2",
        "generation.columns=2",
        f"output={folder / 'out'}",
    )
    return compose([*settings, *overrides])


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The paper's experiment, in bf16, from parquet files to an export."""
    folder = tmp_path_factory.mktemp("stage_c")
    tiny.stage_c_folder(folder / "model")
    write(folder / "source", rows())
    for verb in (prepare, embed, train, generate, export):
        verb.run(configured(folder))
    return folder


def test_the_loss_of_a_new_branch_is_ln_2_in_bf16(world: Path) -> None:
    summary = json.loads((run_folder(configured(world)) / "summary.json").read_text())
    assert summary["step0_loss"] == pytest.approx(0.693147, abs=1e-6)


def test_images_are_stage_b_and_a_or_the_previewer(world: Path) -> None:
    for decoder, side in (("full", int(4 * 10.67) * 4), ("preview", 32)):
        config = configured(world, f"generation.decoder={decoder}")
        folder = Path(generate.run(config)["folder"])
        for row in pq.read_table(folder / "manifest.parquet").to_pylist():
            with Image.open(folder / row["file"]) as image:
                assert image.size == (side, side) == (row["width"], row["height"])


def test_both_sets_of_weights_are_kept_and_draw(world: Path) -> None:
    folder = run_folder(configured(world))
    trained, average = (load_file(folder / f"adapter{kind}.safetensors") for kind in ("", "-ema"))
    assert trained.keys() == average.keys()
    assert not any(torch.equal(trained[name], average[name]) for name in trained if name.endswith("to_v.weight"))
    assert generate.run(configured(world, "generation.weights=ema"))["images"] == 6


def test_the_training_is_shown_as_it_goes(world: Path) -> None:
    sheets = sorted(path.name for path in (run_folder(configured(world)) / "previews").iterdir())
    assert sheets == ["step-000000.png", "step-000001.png", "step-000002.png"]


def test_a_size_that_stage_b_cannot_halve_is_one_clear_message(world: Path) -> None:
    with pytest.raises(UserError, match=r"data\.image_size: 64 pixels give Stage B latents of 21 x 21"):
        Workspace(configured(world, "data.image_size=64")).trained_run()
