"""The whole line on a tiny Stable Diffusion 3 in the released layout, to a picture drawn where this package is not."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file
from tests.backbones import tiny_sd3
from tests.data.handmade import rows, write
from tests.model_card.without_the_package import without_the_package

from ppd_lightning.commands import embed, export, generate, prepare, train
from ppd_lightning.config.compose import compose
from ppd_lightning.config.folders import run_folder
from ppd_lightning.config.root import Config
from ppd_lightning.config.workspace import Workspace
from ppd_lightning.generation.pipeline import Guidance
from ppd_lightning.training.checkpoints import AtomicCheckpointIO, last_checkpoint

SIDE = 32  # pixels: latents of 4 x 4


def configured(folder: Path, *overrides: str) -> Config:
    settings = (
        "experiment=sd35/real",
        f"data.root={folder / 'source'}",
        f"data.image_size={SIDE}",
        "data.held_out_captions=0.2",
        "data.unseen_users=0.2",
        f"model.path={folder / 'model'}",
        f"model.text_tokens={tiny_sd3.T5_TOKENS}",
        "model.dual_sites=true",
        "user.encoder=codec",
        "shots.n=2",
        "shots.groupings=4",
        "user.components=5",
        "optimizer.lr=0.1",
        "trainer.accelerator=cpu",
        "trainer.max_steps=2",
        "trainer.batch_size=4",
        "trainer.micro_batch_size=2",
        "generation.steps=2",
        "generation.columns=2",
        f"output={folder / 'out'}",
    )
    return compose([*settings, *overrides])


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The shipped experiment, in bf16 and with checkpoints, from parquet files to an export."""
    folder = tmp_path_factory.mktemp("sd3")
    tiny_sd3.folder(folder / "model")
    write(folder / "source", rows())
    for verb in (prepare, embed, train, generate, export):
        verb.run(configured(folder))
    return folder


def test_the_loss_of_a_new_branch_is_ln_2_in_bf16(world: Path) -> None:
    summary = json.loads((run_folder(configured(world)) / "summary.json").read_text())
    assert summary["step0_loss"] == pytest.approx(0.693147, abs=1e-6)


def test_a_training_that_was_stopped_goes_on_to_the_same_bits(
    world: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copytree(world / "out/data", tmp_path / "data")
    config = configured(world, f"output={tmp_path}", "trainer.checkpoint_every=1")
    save = AtomicCheckpointIO.save_checkpoint

    def stop(*args: Any, **others: Any) -> None:
        save(*args, **others)
        raise RuntimeError("stopped")

    with monkeypatch.context() as patch:
        patch.setattr(AtomicCheckpointIO, "save_checkpoint", stop)
        with pytest.raises(RuntimeError, match="stopped"):
            train.run(config)
    assert torch.load(last_checkpoint(run_folder(config)), weights_only=True)["global_step"] == 1
    train.run(config)
    whole, resumed = (load_file(run_folder(one) / "adapter.safetensors") for one in (configured(world), config))
    assert all(torch.equal(weight, resumed[name]) for name, weight in whole.items())


def test_the_text_store_has_each_encoders_own_width(world: Path) -> None:
    states = Workspace(configured(world)).data.open_text().arrays
    widths = {name: array.shape[1:] for name, array in states.items()}
    assert widths == {
        "text": (8, sum(tiny_sd3.CLIP_WIDTHS)),
        "text_t5": (tiny_sd3.T5_TOKENS, tiny_sd3.TEXT_WIDTH),
        "text_pooled": (sum(tiny_sd3.POOLED_WIDTHS),),
    }


def test_the_exported_script_draws_the_frameworks_picture(world: Path) -> None:
    config = configured(world)
    folder = run_folder(config) / "export"
    caption, user = "a red fox", min(load_file(folder / "users.safetensors"))
    words = [folder / "draw.py", world / "model", caption, "--user", user, "--out", world / "drawn.png", "--steps", "3"]
    done = without_the_package(words, world)
    assert done.returncode == 0, done.stderr
    trained = Workspace(configured(world, "trainer.precision=fp32")).trained_run(run_folder(config))
    vector = load_file(folder / "users.safetensors")[user][None]
    drawn = [
        trained.pipeline([caption], users, [0], steps=3, guidance=Guidance(4.5, 2.0))[0] for users in (vector, None)
    ]
    ours, base = (np.round(image.permute(1, 2, 0).numpy() * 255) for image in drawn)
    with Image.open(world / "drawn.png") as picture:
        pixels = np.asarray(picture).astype(float)
    assert np.abs(pixels - ours).max() <= 1
    assert np.abs(pixels - base).mean() > 0.5


def test_the_card_names_the_base_and_its_terms(world: Path) -> None:
    card = (run_folder(configured(world)) / "export/README.md").read_text()
    assert "license_name: stabilityai-ai-community" in card
    assert "base_model: stabilityai/stable-diffusion-3.5-medium" in card
    assert "below one million US dollars" in card
