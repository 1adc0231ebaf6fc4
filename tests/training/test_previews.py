"""Sheets of a training while it runs, which must not know that they are made."""

from __future__ import annotations

import random
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from lightning import Callback, Trainer
from lightning.pytorch.loggers import TensorBoardLogger
from PIL import Image
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tests import tiny
from torch.utils.data import DataLoader

from ppd_lightning.diffusion.weighting import TimeWeight
from ppd_lightning.training.checkpoints import AtomicCheckpointIO, LastCheckpoint, last_checkpoint
from ppd_lightning.training.module import PPDModule
from ppd_lightning.training.previews import Previews, preview_path

STEPS = 7


def made() -> PPDModule:
    backbone, network = tiny.backbone(), tiny.unet()
    return PPDModule(
        backbone,
        network,
        tiny.branch(network, trained=False),
        tiny.objective(drop_user=0.3),
        tiny.optimizer(),
        TimeWeight("const", backbone.diffusion_path, 0.001, 1.0, None),
        latent_shape=tiny.LATENT,
        max_steps=STEPS,
        seed=5,
    )


def fit(
    module: PPDModule, folder: Path, *callbacks: Callback, steps: int = STEPS, start: int = 0, **settings: Any
) -> Trainer:
    """Train on the batches from `start` on, of which each step takes as many as it accumulates."""
    trainer = Trainer(
        accelerator="cpu",
        max_steps=steps,
        callbacks=list(callbacks),
        plugins=[AtomicCheckpointIO()],
        default_root_dir=folder,
        enable_progress_bar=False,
        enable_model_summary=False,
        enable_checkpointing=any(isinstance(callback, LastCheckpoint) for callback in callbacks),
        **{"logger": False} | settings,
    )
    batches = [tiny.batch(4, seed) for seed in range(start, 3 * STEPS)]
    checkpoint = last_checkpoint(folder)
    trainer.fit(
        module, DataLoader(batches, batch_size=None), ckpt_path=checkpoint if start else None, weights_only=True
    )
    return trainer


def sheet_of(module: PPDModule) -> Callable[[], Image.Image]:
    """Draws a forward of the network for users, so that each step has another sheet."""
    _, t, *states = tiny.inputs(2)

    @torch.no_grad()
    def draw() -> Image.Image:
        noised = torch.randn(2, *tiny.LATENT, generator=torch.Generator().manual_seed(1))
        with module.branch.user(tiny.users(2)):
            noise = module.backbone.predict(module.network, noised, t, tiny.conditions(*states))
        values = (noise.flatten()[: 3 * 16 * 10].reshape(16, 10, 3) * 40 + 128).clamp(0, 255)
        return Image.fromarray(values.byte().numpy())

    return draw


def weights(module: PPDModule) -> dict[str, torch.Tensor]:
    return {name: weight.detach().clone() for name, weight in module.branch.state_dict().items()}


def sheets(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_a_sheet_is_kept_of_the_first_every_nth_and_the_last_step(tmp_path: Path) -> None:
    module = made()
    fit(module, tmp_path, Previews(sheet_of(module), tmp_path / "previews", 3))
    found = sheets(tmp_path / "previews")
    assert sorted(found) == ["step-000000.png", "step-000003.png", "step-000006.png", "step-000007.png"]
    assert len(set(found.values())) == 4
    np.testing.assert_array_equal(
        np.asarray(Image.open(preview_path(tmp_path / "previews", STEPS))), np.asarray(sheet_of(module)())
    )


def test_the_first_sheet_is_the_base(tmp_path: Path) -> None:
    module = made()
    fit(module, tmp_path, Previews(sheet_of(module), tmp_path / "previews", 100))
    new = np.asarray(sheet_of(made())())
    np.testing.assert_array_equal(np.asarray(Image.open(preview_path(tmp_path / "previews", 0))), new)


class Watched(Callback):
    """What a training is made of, after each batch."""

    def __init__(self) -> None:
        self.seen: list[Any] = []

    def on_train_batch_start(self, trainer: Trainer, module: PPDModule, *args: Any) -> None:
        state = [torch.get_rng_state(), torch.from_numpy(np.array(np.random.get_state()[1]))]
        gradients = [weight.grad for weight in module.branch.parameters()]
        self.seen.append((module.branch._tokens is None, module.network.training, gradients, state, random.getstate()))

    def on_train_batch_end(self, trainer: Trainer, module: PPDModule, outputs: Any, *args: Any) -> None:
        figures = {name: value.clone() for name, value in trainer.logged_metrics.items() if "memory" not in name}
        self.seen.append((outputs["loss"].clone(), figures))


def same(one: Any, other: Any) -> bool:
    if isinstance(one, torch.Tensor):
        return torch.equal(one, other)
    if isinstance(one, dict):
        return one.keys() == other.keys() and all(same(one[name], other[name]) for name in one)
    if isinstance(one, (list, tuple)):
        return len(one) == len(other) and all(same(*pair) for pair in zip(one, other, strict=True))
    return bool(one == other)


@pytest.mark.parametrize("accumulated", [1, 2])
def test_a_training_with_sheets_is_the_one_without_bit_for_bit(tmp_path: Path, accumulated: int) -> None:
    outcomes = []
    for name in ("without", "with"):
        torch.manual_seed(0)
        module, watched = made(), Watched()
        shown = [Previews(sheet_of(module), tmp_path / name, 1)] if name == "with" else []
        fit(module, tmp_path, *shown, watched, accumulate_grad_batches=accumulated)
        outcomes.append((weights(module), watched.seen))
    assert sorted(sheets(tmp_path / "with")) == [f"step-{step:06d}.png" for step in range(STEPS + 1)]
    assert len(outcomes[0][1]) == 2 * STEPS * accumulated
    assert same(*outcomes)
    assert all(off for off, *_ in outcomes[1][1][::2])


def test_a_resumed_run_draws_the_steps_after_its_checkpoint_again(tmp_path: Path) -> None:
    module, folder = made(), tmp_path / "previews"
    fit(module, tmp_path, Previews(sheet_of(module), folder, 2))
    expected = sheets(folder)

    module = made()
    last = LastCheckpoint(tmp_path, 4, validates=False)
    for path in folder.iterdir():
        path.unlink()
    # The checkpoint is listed first, and yet is made after the sheet of its step.
    fit(module, tmp_path, last, Previews(sheet_of(module), folder, 2), steps=4)
    assert sheets(folder).items() <= expected.items()
    preview_path(folder, 6).write_bytes(b"of a run that was cut off")
    untouched = preview_path(folder, 4).stat().st_mtime_ns
    module = made()
    fit(module, tmp_path, Previews(sheet_of(module), folder, 2), start=4)
    assert sheets(folder) == expected
    assert preview_path(folder, 4).stat().st_mtime_ns == untouched


def test_a_checkpoint_comes_after_the_sheet_of_its_step(tmp_path: Path) -> None:
    module, order = made(), []

    class Noted(LastCheckpoint):
        def on_train_batch_end(self, *args: Any) -> None:
            order.append("checkpoint")

    def draw() -> Image.Image:
        order.append("sheet")
        return Image.new("RGB", (4, 4))

    noted = Noted(tmp_path, 1, validates=False)
    fit(module, tmp_path, noted, Previews(draw, tmp_path / "previews", 1), steps=2)
    assert order == ["sheet", "sheet", "checkpoint", "sheet", "checkpoint"]


def test_tensorboard_shows_the_sheets(tmp_path: Path) -> None:
    module, logger = made(), TensorBoardLogger(tmp_path, name="", version="tensorboard")
    fit(module, tmp_path, Previews(sheet_of(module), tmp_path / "previews", 3), logger=logger)
    events = EventAccumulator(str(tmp_path / "tensorboard"))
    events.Reload()
    shown = events.Images("previews")
    assert [image.step for image in shown] == [0, 3, 6, 7]
    assert [(image.width, image.height) for image in shown] == [(10, 16)] * 4


def test_only_the_first_process_draws(tmp_path: Path) -> None:
    other = SimpleNamespace(global_step=0, is_global_zero=False, max_steps=5, loggers=[], accumulate_grad_batches=1)
    previews = Previews(lambda: pytest.fail("drawn"), tmp_path / "previews", 1)
    previews.on_train_start(other, None)
    previews.on_train_batch_end(other, None, None, None, 0)
    assert not (tmp_path / "previews").exists()
