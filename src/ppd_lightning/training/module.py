"""The LightningModule: a frozen network, a trainable user branch, and an objective.

The reference of a preference objective is the network with its branch off.

B = pairs in the batch, E = width of a user embedding.
"""

from __future__ import annotations

import logging
import math
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any

import torch
from lightning import LightningModule
from lightning.pytorch.utilities.types import OptimizerLRSchedulerConfig
from torch import Tensor, distributed, nn

from ppd_lightning.backbones.user_branch import UserBranch
from ppd_lightning.devices import peak_memory
from ppd_lightning.diffusion.draws import Draw
from ppd_lightning.diffusion.weighting import TimeWeight
from ppd_lightning.errors import UserError
from ppd_lightning.training.accumulation import is_due, recount
from ppd_lightning.training.caption_states import CaptionStates
from ppd_lightning.training.health import Fault, Health, NotFiniteError, remedy, require_finite
from ppd_lightning.training.learning_rate import learning_rate_factor
from ppd_lightning.training.mean_figures import figures_of, means_of_all, own_waiting, waiting_of_all
from ppd_lightning.training.noisy_latents import Batch, drawn_times, noisy_latents
from ppd_lightning.training.objectives.objective import Loss, Objective, PairErrors
from ppd_lightning.training.pair_draws import COUNT, PairDraws, draws_in
from ppd_lightning.training.settings import Optimizer

if TYPE_CHECKING:
    from ppd_lightning.backbones.backbone import Backbone

log = logging.getLogger(__name__)


class PPDModule(LightningModule):
    """Trains one user branch by any objective.

    A batch holds pair (B,) and epoch (B,) int64, latents_preferred and latents_dispreferred (B, ...), the backbone's
    `text_arrays` (B, ...) and user (B, E). Times, noise and user dropping are drawn from (seed, epoch, pair), where the
    batch is made or, if it comes without them, here (`PairDraws`). With reference (B, 2), the reference's stored errors
    of the preferred and the dispreferred images, these are taken and not computed. With caption (B,) int64 in place of
    `text_arrays`, `text` is asked for these. Where the objective needs distances, others (B, K, E) are other users.

    Where several processes train it together, figures are means over the pairs of all of them.

    Args:
        backbone: whose network it is.
        network: frozen and in evaluation mode (its dropout would make policy and reference differ).
        branch: attached to `network`.
        objective: what is minimised.
        optimizer: AdamW's settings.
        time_weight: w(t) over the objective's times.
        latent_shape: of one latent, such as (16, H, W).
        max_steps: for the learning rate's schedule.
        seed: of the draws.
        micro_batches: batches that make up an optimizer step.
        log_every: steps between logged figures, which are means over all pairs of these steps.
        text: gives the text states of batches that hold none.
        skip_nonfinite: most steps that may be left out because a figure or the gradient is not finite.

    Between the arrival of a batch with draws and the end of its backward nothing waits for the device.

    What is not finite ends a training with `NotFiniteError`: on a CPU in its step, with a GPU or several processes at
    the next logged step or checkpoint. Where steps may be left out, each is looked at before it is made.

    Raises:
        ValueError: the network is trainable or in training mode.
    """

    def __init__(
        self,
        backbone: Backbone,
        network: nn.Module,
        branch: UserBranch,
        objective: Objective,
        optimizer: Optimizer,
        time_weight: TimeWeight,
        *,
        latent_shape: tuple[int, ...],
        max_steps: int,
        seed: int,
        micro_batches: int = 1,
        log_every: int = 1,
        text: CaptionStates | None = None,
        skip_nonfinite: int = 0,
    ) -> None:
        super().__init__()
        if network.training or any(parameter.requires_grad for parameter in network.parameters()):
            raise ValueError("the network must be frozen and in evaluation mode: network.eval().requires_grad_(False)")
        self.backbone, self.network, self.branch = backbone, network, branch
        self.objective, self.optimizer_config = objective, optimizer
        self.time_weight = time_weight
        self.max_steps, self.draws = max_steps, PairDraws(objective, seed, branch.config["null"] == "learned")
        self.coefficient = objective.coefficient(math.prod(latent_shape))
        self.strict_loading = False  # checkpoints hold the branch only; on_load_checkpoint checks that it is whole
        self.micro_batches, self.log_every, self.text = micro_batches, log_every, text
        self.skip_nonfinite, self.skipped_steps, self.health = skip_nonfinite, 0, Health()
        self._figures = figures_of(objective)
        self._micro_batch = 0  # its number in the step
        self._training_figures: list[dict[str, Tensor]] = []
        self._gradient_norms: list[Tensor] = []
        self._validation_figures: list[dict[str, Tensor]] = []
        self._user = ExitStack()
        # Lightning's DDP reads this name: what is frozen is neither sent at the start nor watched.
        frozen = [*network.named_parameters(prefix="network"), *network.named_buffers(prefix="network")]
        self._ddp_params_and_buffers_to_ignore = [name for name, _ in frozen]

    def train(self, mode: bool = True) -> PPDModule:
        """As everywhere, but the frozen network stays in evaluation mode."""
        super().train(mode)
        self.network.eval()
        return self

    def training_step(self, batch: Batch, batch_index: int) -> Tensor:
        """The loss of one micro-batch; the user stays switched on until its backward is over.

        The loss is the sum over its pairs, divided by how many of the step it stands for, before users are dropped: so
        a step's gradient does not depend on how its pairs are split.
        """
        batch = self.draws.complete(batch)
        if not len(batch["pair"]):
            self._training_figures.append({})
            return torch.stack([0.0 * weight.sum() for weight in self.branch.parameters()]).sum()
        draws = draws_in(batch)
        errors = self._errors(batch, draws, both=self.objective.sees_both, reference=self.objective.needs_reference)
        loss = self.objective.training_loss(errors, self._weight(draws))
        others = {name: value for name, value in loss.figures.items() if name != "loss"}
        self.health.note("train", self.global_step + 1, batch["pair"], {"loss": loss.total, **others})
        self._training_figures.append(loss.figures)
        return loss.total.sum() / batch[COUNT]

    def on_after_backward(self) -> None:
        """Switch the user off again; at the end of a logged step, log the means of the figures of all kept pairs."""
        self._user.close()
        if self.skip_nonfinite:
            self._forget_nonfinite()
        self._micro_batch = (self._micro_batch + 1) % self.micro_batches
        if not self._micro_batch and self._logs():
            self._log_figures()

    def on_before_optimizer_step(self, optimizer: torch.optim.Optimizer) -> None:
        """Note the norm of the step's gradient, before it is clipped; log it with the learning rate and the memory.

        Raises:
            NotFiniteError: a figure or the gradient is not finite, and the step may not be left out.
        """
        gradients = [weight.grad for weight in self.branch.parameters() if weight.grad is not None]
        self._gradient_norms.append(nn.utils.get_total_norm(gradients))
        self.health.note_number("train/gradient_norm", self.global_step + 1, self._gradient_norms[-1])
        alone = self.device.type == "cpu" and not distributed.is_initialized()
        if alone or self.skip_nonfinite or self._logs():
            self._check_step()
        if self._logs():
            norms, self._gradient_norms = self._gradient_norms, []
            if norms:
                self.log("train/gradient_norm", torch.stack(norms).mean())
            if self.skip_nonfinite:
                self.log("train/skipped_steps", float(self.skipped_steps))
            self.log("train/learning_rate", optimizer.param_groups[0]["lr"])
            self.log("train/memory_gib", peak_memory(self.device) / 2**30)

    def validation_step(self, batch: Batch, batch_index: int) -> None:
        """The preference loss (Eq. 6 of PPD) and its accuracy on held-out pairs, whatever the objective."""
        figures = self._preference(batch).figures
        self.health.note("validation", self.global_step, batch["pair"], figures)
        if distributed.is_initialized():
            self._validation_figures.append(figures)
            return
        self.log_dict(
            {f"validation/{name}": value.mean() for name, value in figures.items()}, batch_size=len(batch["pair"])
        )

    def on_validation_epoch_end(self) -> None:
        """The means over the pairs of all ranks: Lightning's own rounds the numbers of pairs.

        Raises:
            NotFiniteError: a figure of a pair is not finite.
        """
        self._require(self.health.check())
        if self._validation_figures:
            parts, self._validation_figures = self._validation_figures, []
            figures = {name: torch.cat([part[name] for part in parts]) for name in parts[0]}
            means, count = means_of_all(figures, tuple(figures), self.device)
            self.log_dict({f"validation/{name}": mean for name, mean in means.items()}, batch_size=count)

    @torch.no_grad()
    def step0_loss(self, batch: Batch) -> float:
        """The preference loss on `batch` as things stand: ln 2 for a new branch (exactly, but for rounding the log).

        Raises as `Objective.require_first_loss`, for the objective's own loss.
        """
        computed = self.draws.of_measurement({name: part for name, part in batch.items() if name != "reference"})
        errors = self._measured(computed)
        self.objective.require_first_loss(errors, self._weight(draws_in(computed)))
        return errors.preference_loss(self.coefficient).total.mean().item()

    @torch.no_grad()
    def stored_logits(self, batch: Batch) -> Tensor:
        """The logits (B,) of a batch with stored reference errors, with their signs and weights in the loss.

        They would be 0 for a new branch, so what they are then is the noise that reading the errors back adds.
        """
        return self._preference(batch).figures["margin"]

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
        """Keep the trained weights only, the network is on disk already; raises as `require_sound`."""
        state = checkpoint["state_dict"]
        checkpoint["state_dict"] = {name: value for name, value in state.items() if name.startswith("branch.")}
        self.require_sound()
        others = {name: checkpoint.get(name) for name in ("optimizer_states", "average")}
        require_finite(others, "in the checkpoint,", self.global_step, self.remedy())
        if self.skip_nonfinite:
            checkpoint["skipped_steps"] = self.skipped_steps
        waiting = waiting_of_all(self._training_figures, self._gradient_norms)
        if any(part["figures"] for part in waiting):  # of steps since figures were logged last
            checkpoint["waiting_figures"] = waiting

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Refuse a checkpoint that lacks a part of the branch; count its steps in micro-batches of today's size.

        Another number of devices makes other micro-batches, which Lightning would take up in the middle of a step.

        Raises:
            UserError: so it is, or a part has another shape.
        """
        found = checkpoint["state_dict"]
        expected = {f"branch.{name}": value.shape for name, value in self.branch.state_dict().items()}
        other = [name for name in expected if name not in found or found[name].shape != expected[name]]
        if other:
            raise UserError(
                f"the checkpoint lacks {', '.join(sorted(other))} in the shape of this user branch; delete the folder "
                "of the checkpoints and run the same command again, which trains from step 0"
            )
        self.skipped_steps = int(checkpoint.get("skipped_steps", 0))
        waiting = own_waiting(checkpoint.get("waiting_figures", []), self.device)
        self._training_figures, self._gradient_norms = waiting
        recount(checkpoint, self.micro_batches)

    def _check_step(self) -> None:
        """Leave a step out that is not finite, as if it had not been: no weight and no moment changes."""
        fault = self.health.check()
        if fault is not None and self.skipped_steps < self.skip_nonfinite:
            self.skipped_steps += 1
            log.warning("%s; step left out, %d of at most %d", fault, self.skipped_steps, self.skip_nonfinite)
            self._gradient_norms.pop()
            for weight in self.branch.parameters():
                weight.grad = None  # the optimizer passes over a weight that has none
            return
        self._require(fault)

    def _require(self, fault: Fault | None) -> None:
        if fault is not None:
            raise NotFiniteError(fault, self.remedy())

    def require_sound(self) -> None:
        """Refuse what the training has come to since it was last looked at, on all ranks at the same time.

        Raises:
            NotFiniteError: a figure, a gradient or a weight is not finite.
        """
        self._require(self.health.check())
        require_finite(self.branch.state_dict(), "the weight", self.global_step, self.remedy())

    def remedy(self) -> str:
        """What to change where this training comes to something that is not finite."""
        return remedy(self.objective, self.optimizer_config, self.skip_nonfinite)

    def _preference(self, batch: Batch) -> Loss:
        """The preference loss of a batch that is not trained on; the user is off again."""
        if "t" not in batch:
            batch = self.draws.of_measurement(batch)
        return self._measured(batch).preference_loss(self.coefficient * self._time_weight(draws_in(batch)))

    def _measured(self, batch: Batch) -> PairErrors:
        """The errors on a batch with draws that is not trained on; the user is off again."""
        errors = self._errors(batch, draws_in(batch), both=True, reference=True)
        self._user.close()
        return errors

    def _time_weight(self, draws: Draw) -> Tensor:
        return self.time_weight(drawn_times(self.objective, draws))

    def _weight(self, draws: Draw) -> Tensor:
        return self.objective.weight(self._time_weight(draws), self.coefficient)

    def _logs(self) -> bool:
        """Whether the step that is under way is one of those at whose end figures are logged."""
        return is_due(self.global_step + 1, self.log_every, self.max_steps)

    def _forget_nonfinite(self) -> None:
        """Of the last micro-batch, so that the means of a logged step are those of what was trained on."""
        if not all(bool(values.isfinite().all()) for values in self._training_figures[-1].values()):
            self._training_figures[-1] = {}

    def _log_figures(self) -> None:
        """The means of the figures, each (B,), of the micro-batches since the last logged step."""
        parts = [part for part in self._training_figures if part]
        self._training_figures = []
        figures = {name: torch.cat([part[name] for part in parts]) for name in (parts[0] if parts else ())}
        if distributed.is_initialized():
            means, count = means_of_all(figures, self._figures, self.device)
        else:
            means = {name: values.mean() for name, values in figures.items()}
            count = len(next(iter(figures.values()), ()))
        for name, mean in means.items():
            self.health.note_number(f"train/{name}", self.global_step + 1, mean)
        if count:
            self.log_dict({f"train/{name}": mean for name, mean in means.items()}, batch_size=count)

    def _errors(self, batch: Batch, draws: Draw, *, both: bool, reference: bool) -> PairErrors:
        """The policy's errors, on both images or on the preferred ones, and on these the reference's or nothing.

        Leaves the user switched on, for the backward; close `self._user` after it.
        """
        self._user.close()  # a step that broke off may have left its user on, which the reference must not see
        if self.text is not None:
            batch = self.text(batch)
        noisy = noisy_latents(self.backbone, self.objective, batch, draws, with_dispreferred=both)
        compared: tuple[Tensor, ...] = ()
        if reference and "reference" in batch:
            compared = batch["reference"].unbind(1)
        elif reference:
            with torch.no_grad():
                compared = noisy.errors(self.backbone, self.network)
        self._user.enter_context(self.branch.user(batch["user"].repeat(noisy.sides, 1)))
        predicted = noisy.predicted(self.backbone, self.network)
        product = noisy.product_of(predicted) if self.objective.needs_product else None
        distances = self.branch.distances(batch["user"], batch["others"]) if "others" in batch else None
        return PairErrors(noisy.errors_of(predicted), compared, product, distances)
