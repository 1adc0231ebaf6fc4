"""An objective of one's own is one class and one YAML file: it is composed, checked and trained like any other."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import torch
from tests import tiny
from tests.parts.hinge import Hinge
from tests.training.tiny_world import overrides
from torch import Tensor

from ppd_lightning.commands import train
from ppd_lightning.config.compose import compose
from ppd_lightning.config.folders import run_folder
from ppd_lightning.config.root import Config
from ppd_lightning.diffusion.weighting import TimeWeight
from ppd_lightning.errors import UserError
from ppd_lightning.training.logged_rows import read_metrics
from ppd_lightning.training.module import PPDModule
from ppd_lightning.training.objectives.objective import Loss, PairErrors

CONF = Path(__file__).parents[1] / "parts/conf"


def on(world: Path, output: Path, *further: str) -> Config:
    if not (output / "data").exists():
        shutil.copytree(world / "out" / "data", output / "data")
    return compose(overrides(world, output, "objective=hinge", *further), CONF)


def hinge(**changes: float) -> Hinge:
    settings = {name: value for name, value in vars(tiny.objective()).items() if name not in ("target", "name")}
    return Hinge(**settings | {"name": "hinge", "delta": 1.0} | changes)


def module(objective: Hinge) -> PPDModule:
    backbone, network = tiny.backbone(), tiny.unet()
    made = PPDModule(
        backbone,
        network,
        tiny.branch(network, trained=False),
        objective,
        tiny.optimizer(lr=0.01),
        TimeWeight("const", backbone.diffusion_path, objective.t_min, objective.t_max),
        latent_shape=tiny.LATENT,
        max_steps=10,
        seed=5,
    )
    made.log_dict = lambda figures, **_: None
    return made


def test_its_loss_falls_to_the_margin_that_suffices() -> None:
    ours, batch = module(hinge(beta=0.02)), tiny.batch(6)
    optimizer, losses = ours.configure_optimizers()["optimizer"], []
    for _ in range(12):
        optimizer.zero_grad()
        loss = ours.training_step(batch, 0)
        loss.backward()
        ours.on_after_backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[0] == pytest.approx(1.0)  # delta
    assert losses[-1] < 0.5


def test_the_supervised_loss_is_added_to_it_as_to_any_other() -> None:
    errors = PairErrors(tuple(torch.rand(2, 4)), tuple(torch.rand(2, 4)))
    weight = torch.rand(4)
    plain, added = (hinge(sft_weight=share).training_loss(errors, weight) for share in (0.0, 0.3))
    torch.testing.assert_close(added.total - plain.total, 0.3 * weight * errors.gain(0))
    assert torch.equal(added.figures["loss"], plain.total)


def test_it_trains_a_run(world: Path, tmp_path: Path) -> None:
    config = on(world, tmp_path, "objective.beta=0.02")
    assert (type(config.objective), config.objective.name) == (Hinge, "hinge")
    summary = train.run(config)
    folder = run_folder(config)
    assert folder.name.startswith("hinge-")
    assert json.loads((folder / "summary.json").read_text()) == summary
    losses = [float(row["train/loss"]) for row in read_metrics(folder / "metrics.csv")]
    assert sum(losses[-2:]) < sum(losses[:2])
    assert "validation/implicit_accuracy" in summary


def test_its_settings_are_checked_with_all_others() -> None:
    with pytest.raises(UserError) as failure:
        compose(["objective=hinge", "objective.delta=0", "objective.t_min=1.0"], CONF)
    faults = [fault.partition(" (")[0] for fault in failure.value.faults]
    assert "objective.delta: must be a number > 0 and <= 1,000,000, not 0" in faults
    with pytest.raises(UserError, match=r"objective\.t_min: must be below objective\.t_max"):
        compose(["objective=hinge", "objective.t_min=1.0"], CONF)


def test_a_rank_without_pairs_knows_its_figures() -> None:
    class Further(Hinge):
        def loss(self, errors: PairErrors, weight: Tensor) -> Loss:
            made = super().loss(errors, weight)
            return Loss(made.total, made.figures | {"square": made.total.square()})

    assert "square" in module(Further(**vars(hinge()) | {"target": ""}))._figures
