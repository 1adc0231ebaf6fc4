"""The whole line on families of models in their released classes and layouts, each part tiny and random.

In bf16 with checkpointing, from parquet files to an export, killed and resumed, and drawn where this package is not.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors import safe_open
from safetensors.torch import load_file
from tests.backbones import tiny_sd3, tiny_unet
from tests.data.handmade import rows, write
from tests.model_card.without_the_package import without_the_package

from ppd_lightning.backbones.adapter_file import read_adapter, write_adapter
from ppd_lightning.commands import embed, export, generate, prepare, train
from ppd_lightning.config.compose import compose
from ppd_lightning.config.folders import run_folder
from ppd_lightning.config.root import Config
from ppd_lightning.config.workspace import Workspace
from ppd_lightning.errors import UserError
from ppd_lightning.generation.grid import as_picture
from ppd_lightning.storage.finished_run import mark_finished
from ppd_lightning.training.checkpoints import AtomicCheckpointIO, last_checkpoint

SIDE = 32  # pixels: latents of 4 x 4
CAPTION, SEED = "a red fox", 5


@dataclass(frozen=True)
class Family:
    """A family, by the experiment that it ships with.

    make: writes its tiny folder. overrides: beside those of every family. beta: of the experiment. card: what the model
    card says of its base.
    """

    make: Callable[[Path], object]
    overrides: tuple[str, ...]
    beta: float
    card: tuple[str, ...]


FAMILIES = {
    "sd15": Family(
        partial(tiny_unet.folder, name="sd15"),
        ("experiment=sdxl/real", "model=sd15", "trainer.reference=stored"),
        5000,
        ("license: creativeml-openrail-m", "beta_dpo = 2 C = 5000"),
    ),
    "sdxl": Family(
        partial(tiny_unet.folder, name="sdxl"),
        ("experiment=sdxl/real", "trainer.reference=stored", "trainer.preview_every=2"),
        5000,
        ("license: openrail++", "base_model: stabilityai/stable-diffusion-xl-base-1.0", "attachment A"),
    ),
    "sd35": Family(
        tiny_sd3.folder,
        ("experiment=sd35/real", f"model.text_tokens={tiny_sd3.T5_TOKENS}", "model.dual_sites=true"),
        1000,
        (
            "license_name: stabilityai-ai-community",
            "base_model: stabilityai/stable-diffusion-3.5-medium",
            "below one million US dollars",
        ),
    ),
}


@dataclass(frozen=True)
class Line:
    """A family after the whole line, in its folder."""

    family: Family
    folder: Path

    def config(self, *overrides: str) -> Config:
        settings = (
            *self.family.overrides,
            f"data.root={self.folder / 'source'}",
            f"data.image_size={SIDE}",
            "data.held_out_captions=0.2",
            "data.unseen_users=0.2",
            f"model.path={self.folder / 'model'}",
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
            f"output={self.folder / 'out'}",
        )
        return compose([*settings, *overrides])

    @property
    def run(self) -> Path:
        return run_folder(self.config())

    @property
    def trained(self) -> Path:
        """The adapter as it was trained."""
        return self.folder / "trained.safetensors"


@pytest.fixture(scope="module", params=["sdxl", "sd35", pytest.param("sd15", marks=pytest.mark.long)])
def line(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Line:
    made = Line(FAMILIES[request.param], tmp_path_factory.mktemp(request.param))
    made.family.make(made.folder / "model")
    write(made.folder / "source", rows())
    for verb in (prepare, embed, train, generate):
        verb.run(made.config())
    shutil.copy(made.run / "adapter.safetensors", made.trained)
    strengthen(made.run / "adapter.safetensors")
    export.run(made.config())
    return made


def test_the_loss_of_a_new_branch_is_ln_2_in_bf16_and_beta_is_that_of_diffusion_dpo(line: Line) -> None:
    summary = json.loads((line.run / "summary.json").read_text())
    assert summary["step0_loss"] == pytest.approx(0.693147, abs=1e-5)
    assert (summary["coefficient"], summary["beta_dpo"]) == (line.family.beta / 2, line.family.beta)


def test_a_training_that_was_stopped_resumes_to_the_same_bits(
    line: Line, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copytree(line.folder / "out/data", tmp_path / "data")
    config = line.config(f"output={tmp_path}", "trainer.checkpoint_every=1")
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
    whole, resumed = (load_file(file) for file in (line.trained, run_folder(config) / "adapter.safetensors"))
    assert all(torch.equal(weight, resumed[name]) for name, weight in whole.items())


def test_the_script_of_the_export_draws_the_frameworks_picture_without_it(line: Line, tmp_path: Path) -> None:
    release = line.run / "export"
    users = load_file(release / "users.safetensors")
    words = ["--user", min(users), "--seed", str(SEED), "--out", tmp_path / "drawn.png"]
    done = without_the_package([release / "draw.py", line.folder / "model", CAPTION, *words], tmp_path)
    assert done.returncode == 0, done.stderr
    trained = replace(Workspace(line.config()).trained_run(), dtype=torch.float32)
    ours, base = (trained.draw([CAPTION], one, [SEED])[0] for one in (users[min(users)][None], None))
    with Image.open(tmp_path / "drawn.png") as picture:
        drawn = np.asarray(picture).astype(int)
    assert np.abs(drawn - np.asarray(as_picture(ours))).max() <= 1
    assert np.abs(drawn - np.asarray(as_picture(base))).mean() > 0.5
    card = (release / "README.md").read_text()
    assert [words for words in line.family.card if words not in card] == []


def strengthen(adapter: Path) -> None:
    """Two steps hardly move a branch: make it matter to what is drawn."""
    tensors, header = read_adapter(adapter)
    generator = torch.Generator().manual_seed(1)
    weights = {
        name: torch.randn(weight.shape, generator=generator) if "to_v" in name else weight
        for name, weight in tensors.items()
    }
    write_adapter(adapter, weights, header)
    mark_finished(adapter.parent)


@pytest.mark.parametrize("line", ["sdxl"], indirect=True)
def test_a_token_is_as_wide_as_suffices_and_previews_are_drawn(line: Line) -> None:
    with safe_open(line.run / "adapter.safetensors", "pt") as file:
        branch = json.loads(file.metadata()["ppd_lightning"])["branch"]
        shape = file.get_slice("blocks.0.to_k.weight").get_shape()
    own = sum(tiny_unet.WIDTHS)
    assert branch.get("token_width", own) == shape[1] == min(4 * branch["embedding_dim"], own)
    assert generate.run(line.config("generation.decoder=preview"))["images"] == 6


@pytest.mark.parametrize("line", ["sdxl"], indirect=True)
def test_a_changed_prediction_is_another_run_and_refused_for_these_files(line: Line) -> None:
    other = line.config("model.prediction=v_prediction")
    assert run_folder(other) != line.run
    with pytest.raises(UserError, match=r"model\.prediction: v_prediction, and .* says epsilon"):
        prepare.run(other)


@pytest.mark.parametrize("line", ["sd35"], indirect=True)
def test_the_text_store_has_each_encoders_own_width(line: Line) -> None:
    states = Workspace(line.config()).data.open_text().arrays
    widths = {name: array.shape[1:] for name, array in states.items()}
    assert widths == {
        "text": (8, sum(tiny_sd3.CLIP_WIDTHS)),
        "text_t5": (tiny_sd3.T5_TOKENS, tiny_sd3.TEXT_WIDTH),
        "text_pooled": (sum(tiny_sd3.POOLED_WIDTHS),),
    }
