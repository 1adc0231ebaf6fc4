"""A training's module before its first step, and the test that its new branch changes nothing."""

from __future__ import annotations

import logging
import math
from typing import TYPE_CHECKING, cast

import torch
from lightning import seed_everything
from torch import nn

from ppd_lightning.diffusion.weighting import TimeWeight
from ppd_lightning.errors import UserError
from ppd_lightning.training.accumulation import micro_batches
from ppd_lightning.training.caption_states import CaptionStates
from ppd_lightning.training.data_module import PreferenceDataModule
from ppd_lightning.training.finite import first_nonfinite
from ppd_lightning.training.module import PPDModule
from ppd_lightning.training.noisy_latents import Batch
from ppd_lightning.training.objectives.objective import Objective
from ppd_lightning.training.reference_error import reference_error_by_time
from ppd_lightning.training.settings import Optimizer, Trainer

if TYPE_CHECKING:
    from diffusers import ModelMixin

    from ppd_lightning.backbones.backbone import Backbone

log = logging.getLogger(__name__)

LN2 = math.log(2)
LARGEST_NOISE = 0.5
"""Of a logit: a sigmoid of 0.38 to 0.62 where it should be a half.

Far above what rounding adds on a CPU (5e-6 at most in fp32, experiments/bench/README.md), so a sign of errors that are
not this run's; nobody has measured bf16 on a GPU.
"""


def build_module(
    backbone: Backbone,
    network: nn.Module,
    data: PreferenceDataModule,
    objective: Objective,
    optimizer: Optimizer,
    trainer: Trainer,
    *,
    seed: int,
    world_size: int = 1,
    text: CaptionStates | None = None,
) -> PPDModule:
    """The module of a training, with a new branch drawn from `seed`.

    Args:
        backbone: whose network it is.
        network: frozen, as `backbone.load_network` gives it.
        data: set up.
        objective: what is minimised.
        optimizer: AdamW's settings.
        trainer: how long, in which micro-batches, and how the network computes.
        seed: of the branch, and of the draws of every example.
        world_size: processes that train it together.
        text: gives the text states of batches that hold none.
    """
    seed_everything(seed, verbose=False)
    branch = backbone.attach(network, data.embedding_dim)
    if trainer.gradient_checkpointing:
        cast("ModelMixin", network).enable_gradient_checkpointing()
    if trainer.compile == "regions":
        assert backbone.compile_regions is not None  # a configuration without it is refused
        backbone.compile_regions(network)
    elif trainer.compile:
        network.compile()
    return PPDModule(
        backbone,
        network,
        branch,
        objective,
        optimizer,
        time_weight(backbone, network, data, objective, seed=seed, text=text),
        latent_shape=data.latent_shape,
        max_steps=trainer.max_steps,
        seed=seed,
        micro_batches=micro_batches(trainer.batch_size, trainer.micro_batch_size, world_size),
        log_every=trainer.log_every,
        text=text,
        skip_nonfinite=trainer.skip_nonfinite,
    )


def time_weight(
    backbone: Backbone,
    network: nn.Module,
    data: PreferenceDataModule,
    objective: Objective,
    *,
    seed: int,
    text: CaptionStates | None = None,
) -> TimeWeight:
    """The weight over time of a training; arguments as of `build_module`, the network's branch is off."""
    times, errors = (objective.t_min, objective.t_max), None
    if objective.weighting == "adaptive":
        batch = _on(next(network.parameters()).device, data.first_batch())
        if text is not None:
            batch = text(batch)
        errors = reference_error_by_time(backbone, network, batch, *times, seed=seed)
    return TimeWeight(objective.weighting, backbone.diffusion_path, *times, errors)


def step0_test(module: PPDModule, data: PreferenceDataModule) -> float:
    """Require that a new branch changes nothing: its loss is ln 2, or the run stops before it wastes anybody's time.

    Returns:
        the loss.

    Raises:
        UserError: stored errors of the reference add too much noise, or a weight, an input or the loss is not finite.
        RuntimeError: the loss is another.
    """
    batch = _on(module.device, {name: part[:16] for name, part in data.first_batch().items()})
    broken = first_nonfinite(module.branch.state_dict())
    if broken is not None:
        raise UserError(f"step-0 self-test: the weight {broken[0]} of the new user branch is {broken[1]}")
    loss = module.step0_loss(batch)
    if not math.isfinite(loss):
        raise UserError(
            data.unsound_inputs(batch["pair"].tolist())
            or f"step-0 self-test: the loss is {loss} before the first step; lower objective.beta or "
            f"objective.timesteps_weight (C = {module.coefficient:g})"
        )
    log.info(
        "step-0 self-test: loss %.6f (ln 2 = %.6f); C = %.1f, as Diffusion-DPO counts it beta = %.1f",
        loss,
        LN2,
        module.coefficient,
        2 * module.coefficient,
    )
    if not math.isclose(loss, LN2, abs_tol=1e-5):
        raise RuntimeError(f"step-0 self-test: a new user branch must give a loss of ln 2 = {LN2:.6f}, got {loss:.6f}")
    if "reference" in batch:
        noise = module.stored_logits(batch).square().mean().sqrt().item()
        log.info("step-0 self-test: reading the reference's errors back adds %.2g to a logit", noise)
        if noise > LARGEST_NOISE:
            raise UserError(
                f"trainer.reference: stored errors of the reference add {noise:.2g} to a logit here, more than "
                f"{LARGEST_NOISE}; use a smaller objective.beta, trainer.precision=fp32, or trainer.reference=computed"
            )
    return loss


def _on(device: torch.device, batch: Batch) -> Batch:
    return {name: part.to(device) for name, part in batch.items()}
