"""The whole line on Stable Diffusion XL's own classes and file layout, each part tiny and random."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from tests.backbones import tiny_unet
from tests.data.handmade import rows, write
from tests.model_card.without_the_package import without_the_package

from ppd_lightning.commands import embed, export, generate, prepare, train
from ppd_lightning.config.compose import compose
from ppd_lightning.config.folders import run_folder
from ppd_lightning.config.root import Config
from ppd_lightning.config.workspace import Workspace
from ppd_lightning.errors import UserError
from ppd_lightning.generation.grid import as_picture

SIDE = 32  # pixels: latents of 4 x 4
CAPTION, SEED = "a red fox", 5


def configured(folder: Path, *overrides: str) -> Config:
    settings = (
        "experiment=sdxl/real",
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
        "trainer.preview_every=2",
        "trainer.reference=stored",
        "generation.steps=2",
        "generation.columns=2",
        f"output={folder / 'out'}",
    )
    return compose([*settings, *overrides])


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The experiment, in bf16 with checkpointing and stored reference errors, from parquet files to an export."""
    folder = tmp_path_factory.mktemp("sdxl")
    tiny_unet.folder(folder / "model", "sdxl")
    write(folder / "source", rows())
    for verb in (prepare, embed, train, generate):
        verb.run(configured(folder))
    adapter = run_folder(configured(folder)) / "adapter.safetensors"
    with safe_open(adapter, "pt") as file:
        header = file.metadata()
    trained = load_file(adapter)  # two steps hardly move the branch: make it matter
    generator = torch.Generator().manual_seed(1)
    strong = {
        name: torch.randn(weight.shape, generator=generator) if "to_v" in name else weight
        for name, weight in trained.items()
    }
    save_file(strong, adapter, header)
    export.run(configured(folder))
    return folder


def test_the_loss_of_a_new_branch_is_ln_2_in_bf16_and_beta_is_that_of_diffusion_dpo(world: Path) -> None:
    summary = json.loads((run_folder(configured(world)) / "summary.json").read_text())
    assert summary["step0_loss"] == pytest.approx(0.693147, abs=1e-5)
    assert (summary["coefficient"], summary["beta_dpo"]) == (2500, 5000)


def test_a_token_is_as_wide_as_suffices_and_draws(world: Path) -> None:
    folder = run_folder(configured(world))
    with safe_open(folder / "adapter.safetensors", "pt") as file:
        branch = json.loads(file.metadata()["ppd_lightning"])["branch"]
        shape = file.get_slice("blocks.0.to_k.weight").get_shape()
    own = sum(tiny_unet.WIDTHS)
    assert branch.get("token_width", own) == shape[1] == min(4 * branch["embedding_dim"], own)
    assert generate.run(configured(world, "generation.decoder=preview"))["images"] == 6


def test_the_script_of_the_export_draws_the_frameworks_picture_without_it(world: Path, tmp_path: Path) -> None:
    config = configured(world)
    release = run_folder(config) / "export"
    users = load_file(release / "users.safetensors")
    words = ["--user", min(users), "--seed", str(SEED), "--out", tmp_path / "drawn.png"]
    done = without_the_package([release / "draw.py", world / "model", CAPTION, *words], tmp_path)
    assert done.returncode == 0, done.stderr
    trained = replace(Workspace(config).trained_run(), dtype=torch.float32)
    ours, base = (trained.draw([CAPTION], one, [SEED])[0] for one in (users[min(users)][None], None))
    with Image.open(tmp_path / "drawn.png") as picture:
        drawn = np.asarray(picture).astype(int)
    assert np.abs(drawn - np.asarray(as_picture(ours))).max() <= 1
    assert np.abs(drawn - np.asarray(as_picture(base))).mean() > 2


def test_the_card_has_the_licence_and_the_settings(world: Path) -> None:
    card = (run_folder(configured(world)) / "export/README.md").read_text()
    assert "license: openrail++" in card
    assert "base_model: stabilityai/stable-diffusion-xl-base-1.0" in card
    assert "attachment A" in card
    assert "beta_dpo = 2 C = 5000" in card


def test_a_changed_prediction_is_another_run_and_refused_for_these_files(world: Path) -> None:
    other = configured(world, "model.prediction=v_prediction")
    assert run_folder(other) != run_folder(configured(world))
    with pytest.raises(UserError, match=r"model\.prediction: v_prediction, and .* says epsilon"):
        prepare.run(other)
