"""Supervised fine-tuning on preferred images."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Literal

from ppd_lightning.settings.part import settings
from ppd_lightning.training.objectives.objective import Loss, Objective, PairErrors

if TYPE_CHECKING:
    from torch import Tensor


@settings
class SFT(Objective):
    """The network's own loss on the preferred image, under its user; without a reference, beta and sft_weight."""

    name: Literal["sft"]

    title: ClassVar[str] = "supervised fine-tuning"
    summary: ClassVar[str] = "user cross-attention trained on what each person preferred"
    formula: ClassVar[str] = "w(t) times the mean squared error on the preferred image"
    needs_reference: ClassVar[bool] = False

    def loss(self, errors: PairErrors, weight: Tensor) -> Loss:
        """w(t) times the error on the preferred image."""
        (error,) = errors.policy
        loss = weight * error
        return Loss(loss, {"loss": loss.detach(), "error_preferred": error.detach()})
