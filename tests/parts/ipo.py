"""An objective from outside of the package: identity preference optimisation. One class, one YAML."""

from __future__ import annotations

from typing import ClassVar

from torch import Tensor

from ppd_lightning.settings.part import settings
from ppd_lightning.settings.values import Positive
from ppd_lightning.training.objectives.objective import Loss, Objective, PairErrors


@settings
class IPO(Objective):
    """IPO (Azar et al., arXiv 2310.12036) on prediction errors: the margin goes to 1 / (2 tau), not to infinity."""

    tau: Positive
    """Strength of the regularisation."""

    title: ClassVar[str] = "Diffusion-IPO"

    def loss(self, errors: PairErrors, weight: Tensor) -> Loss:
        """(margin - 1 / (2 tau))^2."""
        margin = errors.margin(weight)
        loss = (margin - 1 / (2 * self.tau)).square()
        return Loss(loss, errors.figures(loss, margin))
