"""The moving average of a real training is the plain formula, holds the branch alone, and survives a checkpoint."""

from __future__ import annotations

import itertools
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from lightning import Trainer
from lightning.pytorch.callbacks import Callback
from tests import tiny
from torch import Tensor
from torch.utils.data import DataLoader, IterableDataset

from ppd_lightning.diffusion.weighting import TimeWeight
from ppd_lightning.training.accumulation import ends_step
from ppd_lightning.training.checkpoints import AtomicCheckpointIO, LastCheckpoint, last_checkpoint
from ppd_lightning.training.ema import BranchAverage
from ppd_lightning.training.module import PPDModule

DECAY, STEPS, SAVED = 0.8, 6, 4
Weights = dict[str, Tensor]


class Trajectory(Callback):
    """The trained weights after each optimizer step, seen from outside."""

    def __init__(self) -> None:
        self.weights: dict[int, Weights] = {}

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: PPDModule, outputs: Any, batch: Any, batch_index: int
    ) -> None:
        if ends_step(trainer, batch_index):
            self.weights[trainer.global_step] = copied(pl_module)


class Kept(Callback):
    """A copy of the checkpoint of step `SAVED`, which the last step overwrites."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def on_train_batch_start(self, trainer: Trainer, pl_module: PPDModule, batch: Any, batch_index: int) -> None:
        if trainer.global_step == SAVED and not (self.folder / "saved").exists():
            shutil.copytree(self.folder / "checkpoints", self.folder / "saved" / "checkpoints")


class Stream(IterableDataset[Any]):
    """A batch of its own for each micro-batch, from one on."""

    def __init__(self, begin: int) -> None:
        self.begin = begin

    def __iter__(self) -> Iterator[dict[str, Tensor]]:
        return (tiny.batch(2, seed) for seed in itertools.count(self.begin))


def copied(module: PPDModule) -> Weights:
    return {name: tensor.clone() for name, tensor in module.branch.state_dict().items()}


def module(null: str = "zero", parts: int = 1) -> PPDModule:
    backbone, network, objective = tiny.backbone(), tiny.unet(), tiny.objective()
    return PPDModule(
        backbone,
        network,
        tiny.branch(network, null=null),
        objective,
        tiny.optimizer(lr=0.02),
        TimeWeight("const", backbone.diffusion_path, objective.t_min, objective.t_max),
        latent_shape=tiny.LATENT,
        max_steps=STEPS,
        seed=0,
        micro_batches=parts,
    )


def fit(
    trained: PPDModule,
    folder: Path,
    *,
    parts: int = 1,
    average: bool = True,
    resume: bool = False,
    validates: bool = False,
) -> tuple[BranchAverage, Trajectory]:
    """A real `Trainer.fit` that leaves a checkpoint of step `SAVED` and one of the last."""
    seen, ours = Trajectory(), BranchAverage(trained.branch, DECAY)
    checkpoint = LastCheckpoint(folder, SAVED, validates=validates)
    trainer = Trainer(
        accelerator="cpu",
        max_steps=STEPS,
        max_epochs=-1,
        accumulate_grad_batches=parts,
        callbacks=[seen, checkpoint, Kept(folder), *([ours] if average else [])],
        logger=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        num_sanity_val_steps=0,
        check_val_every_n_epoch=None,
        val_check_interval=2 * parts if validates else None,
        limit_val_batches=None if validates else 0,
        plugins=[AtomicCheckpointIO()],
        default_root_dir=folder,
    )
    batches = DataLoader(Stream(1 + SAVED * parts if resume else 1), batch_size=None)
    validation = DataLoader([tiny.batch(2, 99)], batch_size=None) if validates else None
    saved = last_checkpoint(folder / "saved") if resume else None
    trainer.fit(trained, batches, validation, ckpt_path=saved, weights_only=True)
    return ours, seen


def by_hand(trajectory: Trajectory) -> Weights:
    """The weights of the first step, then decay * average + (1 - decay) * weights."""
    steps = [trajectory.weights[step] for step in range(1, STEPS + 1)]
    average = {name: weight.double() for name, weight in steps[0].items()}
    for weights in steps[1:]:
        average = {name: DECAY * average[name] + (1 - DECAY) * weights[name].double() for name in average}
    return average


@pytest.mark.parametrize("null", ["zero", "learned"])
@pytest.mark.parametrize("parts", [1, 3])
def test_the_average_is_the_plain_formula_over_optimizer_steps(tmp_path: Path, parts: int, null: str) -> None:
    trained = module(null, parts)
    average, seen = fit(trained, tmp_path, parts=parts)
    expected = by_hand(seen)
    assert average.weights().keys() == trained.branch.state_dict().keys()
    for name, weight in average.weights().items():
        torch.testing.assert_close(weight.double(), expected[name], rtol=1e-5, atol=1e-7)
        if name != "projection.bias":
            assert not torch.allclose(weight, trained.branch.state_dict()[name], atol=1e-4)


def test_the_network_is_neither_copied_nor_averaged(tmp_path: Path) -> None:
    trained = module()
    average, _ = fit(trained, tmp_path)
    held = list(average._average_model.parameters())
    assert sum(weight.numel() for weight in held) == sum(weight.numel() for weight in trained.branch.parameters())
    assert not {id(weight) for weight in held} & {id(weight) for weight in trained.parameters()}
    assert not {weight.data_ptr() for weight in held} & {weight.data_ptr() for weight in trained.parameters()}
    saved = torch.load(last_checkpoint(tmp_path), weights_only=True)
    assert not any("network" in name for part in ("state_dict", "average") for name in saved[part])


@pytest.mark.parametrize("validates", [False, True])
def test_training_is_the_same_with_it_and_without(tmp_path: Path, validates: bool) -> None:
    with_it, without = module(), module()
    _, seen = fit(with_it, tmp_path, validates=validates)
    _, expected = fit(without, tmp_path, average=False, validates=validates)
    for step in range(1, STEPS + 1):
        assert all(torch.equal(weight, expected.weights[step][name]) for name, weight in seen.weights[step].items())
    assert all(torch.equal(weight, expected.weights[STEPS][name]) for name, weight in copied(with_it).items())


@pytest.mark.parametrize("validates", [False, True])
@pytest.mark.parametrize("parts", [1, 3])
def test_it_goes_on_from_a_checkpoint_as_if_nothing_had_been(tmp_path: Path, parts: int, validates: bool) -> None:
    whole, expected = fit(module(parts=parts), tmp_path, parts=parts, validates=validates)
    again, seen = fit(module(parts=parts), tmp_path, parts=parts, validates=validates, resume=True)
    assert list(seen.weights) == list(range(SAVED + 1, STEPS + 1))
    for name, weight in whole.weights().items():
        assert torch.equal(seen.weights[STEPS][name], expected.weights[STEPS][name]), name
        assert torch.equal(again.weights()[name], weight), name


def test_there_is_no_average_before_training() -> None:
    with pytest.raises(RuntimeError, match="before a training"):
        BranchAverage(module().branch, DECAY).weights()


def test_what_is_read_does_not_change_with_the_average(tmp_path: Path) -> None:
    average, _ = fit(module(), tmp_path)
    read = average.weights()
    read["projection.weight"].zero_()
    assert average.weights()["projection.weight"].any()
