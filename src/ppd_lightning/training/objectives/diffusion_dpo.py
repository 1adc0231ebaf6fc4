"""Diffusion-DPO: one preference for everybody."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, ClassVar, Literal

from ppd_lightning.settings.part import settings
from ppd_lightning.training.objectives.objective import Loss, Objective, PairErrors

if TYPE_CHECKING:
    from torch import Tensor


@settings
class DiffusionDPO(Objective):
    """Diffusion-DPO (arXiv 2311.12908), learnt by the user branch: PPD's loss with one constant user."""

    name: Literal["diffusion_dpo"]

    title: ClassVar[str] = "Diffusion-DPO"
    summary: ClassVar[str] = "cross-attention to one constant vector, which draws what people in general prefer"
    one_preference: ClassVar[bool] = True
    first_loss: ClassVar[float | None] = math.log(2)

    def loss(self, errors: PairErrors, weight: Tensor) -> Loss:
        """-log sigmoid of the margin."""
        return errors.preference_loss(weight)
