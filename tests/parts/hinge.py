"""An objective from outside of the package: a hinge on the margin. One class, one YAML."""

from __future__ import annotations

from typing import ClassVar

from torch import Tensor

from ppd_lightning.settings.part import settings
from ppd_lightning.settings.values import Positive
from ppd_lightning.training.objectives.objective import Loss, Objective, PairErrors


@settings
class Hinge(Objective):
    """SLiC's hinge (Zhao et al., arXiv 2305.10425) on prediction errors: pairs beyond the margin teach nothing."""

    delta: Positive
    """The margin that suffices."""

    title: ClassVar[str] = "Diffusion-SLiC"

    def loss(self, errors: PairErrors, weight: Tensor) -> Loss:
        """max(0, delta - margin)."""
        margin = errors.margin(weight)
        loss = (self.delta - margin).clamp(min=0)
        return Loss(loss, errors.figures(loss, margin))
