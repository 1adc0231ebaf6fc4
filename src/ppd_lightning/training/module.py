"""The LightningModule: a frozen Stage C, a trainable user branch, and a preference loss against the branch turned off.

B = pairs in the batch.
"""

from __future__ import annotations

import math
from contextlib import ExitStack
from typing import Any

import torch
from diffusers import StableCascadeUNet
from lightning import LightningModule
from lightning.pytorch.utilities.types import OptimizerLRSchedulerConfig
from torch import Tensor

from ppd_lightning.config.schemas import Objective, Optimizer
from ppd_lightning.diffusion.draws import Draw, draw_batch
from ppd_lightning.diffusion.objectives import implicit_accuracy, loss_coefficient, noise_error, preference_loss
from ppd_lightning.diffusion.schedule import CosineSchedule
from ppd_lightning.diffusion.weighting import TimeWeight
from ppd_lightning.models.prior import predict_noise
from ppd_lightning.models.user_branch import UserBranch
from ppd_lightning.training.learning_rate import learning_rate_factor

Batch = dict[str, Tensor]


class PPDModule(LightningModule):
    """PPD, Diffusion-DPO or SFT on one user branch; which one is `objective.name`.

    A batch holds pair (B,) and epoch (B,) int64, latents_preferred and latents_dispreferred (B, 16, H, W), text
    (B, L, C), text_pooled (B, 1, C') and user (B, E). Times, noise and user dropping are drawn from (seed, epoch,
    pair).

    Args:
        prior: frozen and in evaluation mode (its dropout would make policy and reference differ).
        branch: attached to `prior`.
        time_weight: w(t) over the objective's times.
        latent_shape: (16, H, W).
        max_steps: for the learning rate's schedule.
        micro_batches: batches that make up an optimizer step; figures are logged as means over its pairs.

    Raises:
        ValueError: the prior is trainable or in training mode.
    """

    def __init__(
        self,
        prior: StableCascadeUNet,
        branch: UserBranch,
        objective: Objective,
        optimizer: Optimizer,
        time_weight: TimeWeight,
        *,
        latent_shape: tuple[int, ...],
        max_steps: int,
        seed: int,
        micro_batches: int = 1,
    ) -> None:
        super().__init__()
        if prior.training or any(parameter.requires_grad for parameter in prior.parameters()):
            raise ValueError("the prior must be frozen and in evaluation mode: prior.eval().requires_grad_(False)")
        self.prior, self.branch = prior, branch
        self.objective, self.optimizer_config = objective, optimizer
        self.time_weight, self.schedule = time_weight, CosineSchedule()
        self.latent_shape, self.max_steps, self.seed = latent_shape, max_steps, seed
        self.coefficient = loss_coefficient(
            objective.beta,
            math.prod(latent_shape),
            reduction=objective.reduction,
            timesteps_weight=objective.timesteps_weight,
        )
        self.strict_loading = False  # checkpoints hold the branch only; on_load_checkpoint checks that it is whole
        self.micro_batches = micro_batches
        self._step_metrics: list[dict[str, Tensor]] = []
        self._user = ExitStack()

    def train(self, mode: bool = True) -> PPDModule:
        """As everywhere, but the frozen prior stays in evaluation mode."""
        super().train(mode)
        self.prior.eval()
        return self

    def training_step(self, batch: Batch, batch_index: int) -> Tensor:
        """The loss of one micro-batch; the user stays switched on until its backward is over.

        The loss is the sum over its pairs, divided by their number before users are dropped: so a step's gradient does
        not depend on how its pairs are split.
        """
        count = len(batch["pair"])
        batch, draws = self._kept(batch, self._draws(batch))
        if not len(batch["pair"]):
            self._log_step({})
            return torch.stack([0.0 * weight.sum() for weight in self.branch.parameters()]).sum()
        loss, metrics = self._sft(batch, draws) if self.objective.name == "sft" else self._preference(batch, draws)
        self._log_step(metrics)
        return loss.sum() / count

    def on_after_backward(self) -> None:
        """Switch the user off again."""
        self._user.close()

    def validation_step(self, batch: Batch, batch_index: int) -> None:
        """The preference loss and its accuracy on pairs that are not trained on, whatever the objective."""
        _, metrics = self._preference(batch, self._draws(batch))
        self._user.close()
        self.log_dict(
            {f"validation/{name}": value.mean() for name, value in metrics.items()}, batch_size=len(batch["pair"])
        )

    @torch.no_grad()
    def step0_loss(self, batch: Batch) -> float:
        """The preference loss on `batch` as things stand: ln 2 for a new branch (exactly, but for rounding the log)."""
        policy, reference = self._errors(batch, self._draws(batch), with_dispreferred=True)
        self._user.close()
        loss, _ = preference_loss(policy[0], policy[1], reference[0], reference[1], self.coefficient)
        return loss.mean().item()

    def configure_optimizers(self) -> OptimizerLRSchedulerConfig:
        """AdamW on the branch alone; the rate warms up linearly, then follows the schedule to the last step."""
        config = self.optimizer_config
        optimizer = torch.optim.AdamW(
            self.branch.parameters(),
            lr=config.lr,
            betas=(config.betas[0], config.betas[1]),
            weight_decay=config.weight_decay,
            fused=True,
        )
        scheduler = torch.optim.lr_scheduler.LambdaLR(
            optimizer, lambda step: learning_rate_factor(step, self.max_steps, config.warmup_steps, config.schedule)
        )
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": scheduler, "interval": "step"}}

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Keep the trained weights only: the prior is on disk already."""
        state = checkpoint["state_dict"]
        checkpoint["state_dict"] = {name: value for name, value in state.items() if name.startswith("branch.")}

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Refuse a checkpoint that lacks a part of the branch."""
        missing = {f"branch.{name}" for name in self.branch.state_dict()} - set(checkpoint["state_dict"])
        if missing:
            raise ValueError(f"the checkpoint lacks {', '.join(sorted(missing))}")

    def _preference(self, batch: Batch, draws: Draw) -> tuple[Tensor, dict[str, Tensor]]:
        """What is minimised, and the figures of each pair, all (B,)."""
        policy, reference = self._errors(batch, draws, with_dispreferred=True)
        weight = self.coefficient * self.time_weight(self._times(draws))
        loss, logits = preference_loss(policy[0], policy[1], reference[0], reference[1], weight)
        gain = [ours - base for ours, base in zip(policy, reference, strict=True)]
        metrics = {
            "loss": loss,
            "implicit_accuracy": implicit_accuracy(logits),
            "margin": logits,
            "error_preferred": policy[0],
            "error_dispreferred": policy[1],
            "gain_preferred": gain[0],
            "gain_dispreferred": gain[1],
        }
        total = loss
        if self.objective.sft_weight:
            total = total + self.objective.sft_weight * weight * gain[0]
        return total, {name: value.detach() for name, value in metrics.items()}

    def _sft(self, batch: Batch, draws: Draw) -> tuple[Tensor, dict[str, Tensor]]:
        (error,), _ = self._errors(batch, draws, with_dispreferred=False)
        loss = self.time_weight(self._times(draws)) * error
        return loss, {"loss": loss.detach(), "error_preferred": error.detach()}

    def _log_step(self, metrics: dict[str, Tensor]) -> None:
        """Keep a micro-batch's figures, each (B,), and log the means over the whole step at its end."""
        self._step_metrics.append(metrics)
        if len(self._step_metrics) < self.micro_batches:
            return
        parts = [part for part in self._step_metrics if part]
        self._step_metrics = []
        if parts:
            means = {f"train/{name}": torch.cat([part[name] for part in parts]).mean() for name in parts[0]}
            self.log_dict(means, batch_size=sum(len(part["loss"]) for part in parts))

    def _errors(
        self, batch: Batch, draws: Draw, *, with_dispreferred: bool
    ) -> tuple[tuple[Tensor, ...], tuple[Tensor, ...]]:
        """Noise errors (B,) of policy and reference, each (preferred, dispreferred) or (preferred,) and ().

        Leaves the user switched on, for the backward; close `self._user` after it.
        """
        self._user.close()  # a step that broke off may have left its user on, which the reference must not see
        sides = [(batch["latents_preferred"], draws.noise_preferred)]
        if with_dispreferred:
            shared = self.objective.share_noise
            sides += [(batch["latents_dispreferred"], draws.noise_preferred if shared else draws.noise_dispreferred)]
        count, t = len(sides), self._times(draws)
        noise = torch.cat([noise for _, noise in sides])
        noised = torch.cat([self.schedule.add_noise(latents, noise, t) for latents, noise in sides])
        text, pooled = batch["text"].repeat(count, 1, 1), batch["text_pooled"].repeat(count, 1, 1)
        inputs = (noised, t.repeat(count), text, pooled)
        reference: tuple[Tensor, ...] = ()
        if with_dispreferred:
            with torch.no_grad():
                reference = noise_error(predict_noise(self.prior, *inputs), noise).chunk(count)
        self._user.enter_context(self.branch.user(batch["user"].repeat(count, 1)))
        return noise_error(predict_noise(self.prior, *inputs), noise).chunk(count), reference

    def _times(self, draws: Draw) -> Tensor:
        return self.objective.t_min + (self.objective.t_max - self.objective.t_min) * draws.t

    def _draws(self, batch: Batch) -> Draw:
        draws = draw_batch(self.seed, batch["epoch"], batch["pair"], self.latent_shape)
        return Draw(**{name: value.to(self.device) for name, value in vars(draws).items()})

    def _kept(self, batch: Batch, draws: Draw) -> tuple[Batch, Draw]:
        """Drop users at the objective's rate: with a learned null they become zero, else their pairs are left out.

        A zero user of a bias-free branch *is* the reference: its pair would cost a step and teach nothing.
        """
        keep = draws.drop_user >= self.objective.drop_user
        if self.branch.config["null"] == "learned":
            return batch | {"user": batch["user"] * keep[:, None]}, draws
        return (
            {name: value[keep] for name, value in batch.items()},
            Draw(**{name: value[keep] for name, value in vars(draws).items()}),
        )
