"""An objective: what a training minimises, of the errors of policy and reference on pairs.

A class derived from `Objective` and a file in `conf/objective` make one; `loss` is all that it has to define.

B = pairs in a batch, D = dimensions of a latent, K = other people a pair's person is compared with.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Literal

from ppd_lightning.settings.part import Part, settings
from ppd_lightning.settings.values import Fraction, NonNegative, Positive, Switch

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True)
class Loss:
    """What a batch comes to.

    total: (B,), of which the mean is minimised. figures: what is logged, each (B,), by name, without gradients.
    """

    total: Tensor
    figures: dict[str, Tensor]


@dataclass(frozen=True)
class PairErrors:
    """Mean squared errors (B,) of the policy's and the reference's predictions.

    policy: on the preferred and the dispreferred images, or on the preferred ones alone. reference: the same, or
    nothing where the objective needs no reference. product: (B,), the mean over the latent's dimensions of the product
    of the policy's residuals (prediction less target) on both images, without gradient; where the objective needs it.
    distances: (B, K), how far what the branch makes of a pair's person is from what it makes of K others
    (`UserBranch.distances`); where the objective compares people.
    """

    policy: tuple[Tensor, ...]
    reference: tuple[Tensor, ...]
    product: Tensor | None = None
    distances: Tensor | None = None

    def gain(self, side: int) -> Tensor:
        """The policy's error less the reference's (B,): on the preferred images (0) or the dispreferred ones (1)."""
        return self.policy[side] - self.reference[side]

    def margin(self, weight: Tensor | float) -> Tensor:
        """The difference of the images' implicit rewards (B,), the argument of Diffusion-DPO's sigmoid.

        It is -weight, (B,) or one number, times the difference of both gains: positive where the policy has moved to
        the preferred image.
        """
        return -weight * (self.gain(0) - self.gain(1))

    def preference_loss(self, weight: Tensor | float) -> Loss:
        """Eq. 6 of PPD: -log sigmoid of the margin, ln 2 where policy and reference agree."""
        from ppd_lightning.diffusion.losses import preference_loss

        loss, margin = preference_loss(self.policy[0], self.policy[1], self.reference[0], self.reference[1], weight)
        return Loss(loss, self.figures(loss, margin))

    def figures(self, loss: Tensor, margin: Tensor) -> dict[str, Tensor]:
        """What is logged of a preference loss (B,) with its margin (B,)."""
        from ppd_lightning.diffusion.losses import implicit_accuracy

        figures = {
            "loss": loss,
            "implicit_accuracy": implicit_accuracy(margin),
            "margin": margin,
            "error_preferred": self.policy[0],
            "error_dispreferred": self.policy[1],
            "gain_preferred": self.gain(0),
            "gain_dispreferred": self.gain(1),
        }
        return {name: value.detach() for name, value in figures.items()}


@settings
class Objective(Part, ABC):
    """What is minimised."""

    name: str
    """The loss, in the names of runs and in tables."""
    beta: Positive
    """Strength of the pull towards the reference; the convention is the next two keys."""
    reduction: Literal["sum", "mean"]
    """Whether a squared norm is summed or averaged over the latent's dimensions."""
    timesteps_weight: Positive
    """The factor T * w that multiplies beta."""
    weighting: Literal["const", "p2", "adaptive", "elbo"]
    """Weight over time; adaptive divides by the base's mean error at each noise level."""
    t_min: Fraction
    """Lowest time that is drawn."""
    t_max: Fraction
    """Highest time that is drawn; 1 is pure noise."""
    share_noise: Switch
    """Whether both images of a pair get the same noise."""
    drop_user: Fraction
    """Share of the examples that are trained without their user."""
    sft_weight: NonNegative
    """Weight of an added supervised loss on the preferred image; 0 leaves it out."""

    title: ClassVar[str] = "preference training"
    """Its name in a sentence."""
    summary: ClassVar[str] = "user cross-attention trained on people's choices"
    """What an adapter does that was trained by it, for the model card: a phrase after a colon."""
    needs_reference: ClassVar[bool] = True
    """Whether `loss` takes the errors on both images and the reference's; else the policy's on the preferred one."""
    needs_both: ClassVar[bool] = False
    """Whether `loss` takes the policy's errors on both images where it needs no reference."""
    needs_product: ClassVar[bool] = False
    """Whether `loss` takes `PairErrors.product`."""
    needs_distances: ClassVar[bool] = False
    """Whether `loss` takes `PairErrors.distances`, to `compared_users` others; people must differ then."""
    formula: ClassVar[str] = ""
    """Its loss of a pair in words, for the model card: a phrase; empty for PPD's own."""
    first_loss: ClassVar[float | None] = None
    """Its loss where policy and reference agree, as with a new branch; None where that depends on settings or data."""
    one_preference: ClassVar[bool] = False
    """Whether it learns one preference for everybody, and so wants a user who is the same for all."""

    @property
    def sees_both(self) -> bool:
        """Whether a training needs the policy's errors on both images."""
        return self.needs_reference or self.needs_both

    @property
    def compared_users(self) -> int:
        """K, how many others `loss` wants each pair's person compared with, in `PairErrors.distances`."""
        return 0

    @abstractmethod
    def loss(self, errors: PairErrors, weight: Tensor) -> Loss:
        """The loss of each pair, without what `sft_weight` adds.

        Args:
            errors: of B pairs.
            weight: (B,), w(t), of mean 1 over the times; times C of `coefficient` where there is a reference.
        """

    def coefficient(self, dims: int) -> float:
        """C, the factor of a difference of mean squared errors over D = `dims`; see `diffusion.losses`."""
        from ppd_lightning.diffusion.losses import loss_coefficient

        return loss_coefficient(self.beta, dims, reduction=self.reduction, timesteps_weight=self.timesteps_weight)

    def weight(self, time_weight: Tensor, coefficient: float) -> Tensor:
        """The factor (B,) that `loss` takes, of w(t) (B,) and C."""
        return coefficient * time_weight if self.needs_reference else time_weight

    def require_first_loss(self, errors: PairErrors, weight: Tensor) -> None:
        """Require that pairs (B,) on which policy and reference agree have `first_loss`; arguments as of `loss`.

        Raises:
            RuntimeError: their mean is finite and another.
        """
        if self.first_loss is None:
            return
        found = self.loss(errors, weight).total.mean().item()
        if math.isfinite(found) and abs(found - self.first_loss) > 1e-4:
            raise RuntimeError(
                f"step-0 self-test: with a new user branch objective {self.name} must give a loss of "
                f"{self.first_loss:.6f}, got {found:.6f}"
            )

    def training_loss(self, errors: PairErrors, weight: Tensor) -> Loss:
        """`loss`, with sft_weight times the change of the error on the preferred image where there is a reference."""
        loss = self.loss(errors, weight)
        if not (self.sft_weight and self.needs_reference):
            return loss
        return Loss(loss.total + self.sft_weight * weight * errors.gain(0), loss.figures)
