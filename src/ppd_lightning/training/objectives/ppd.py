"""Personalised preference optimisation: each person's choices, under their user vector."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, ClassVar, Literal

from ppd_lightning.settings.part import settings
from ppd_lightning.training.objectives.objective import Loss, Objective, PairErrors

if TYPE_CHECKING:
    from torch import Tensor


@settings
class PPD(Objective):
    """Eq. 6 of PPD (arXiv 2501.06655): Diffusion-DPO's loss, the policy being conditioned on the user."""

    name: Literal["ppd"]

    title: ClassVar[str] = "PPD"
    summary: ClassVar[str] = (
        "user cross-attention that draws one caption differently for different people, by their vectors"
    )
    first_loss: ClassVar[float | None] = math.log(2)

    def loss(self, errors: PairErrors, weight: Tensor) -> Loss:
        """-log sigmoid of the margin."""
        return errors.preference_loss(weight)
