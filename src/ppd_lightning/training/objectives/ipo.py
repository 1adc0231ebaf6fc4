"""IPO: the margin goes to a half, not to infinity."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Literal

from ppd_lightning.settings.part import settings
from ppd_lightning.training.objectives.objective import Loss, Objective, PairErrors

if TYPE_CHECKING:
    from torch import Tensor


@settings
class IPO(Objective):
    """IPO (arXiv 2310.12036, Eq. 17) on errors, times beta^2.

    With h the difference of log-ratios and tau = beta, its (h - 1 / (2 beta))^2 is (margin - 1/2)^2 / beta^2, as the
    margin is beta h.
    """

    name: Literal["ipo"]

    title: ClassVar[str] = "Diffusion-IPO"
    formula: ClassVar[str] = "the square of the margin's distance to 1/2"
    first_loss: ClassVar[float | None] = 0.25

    def loss(self, errors: PairErrors, weight: Tensor) -> Loss:
        """(margin - 1/2)^2."""
        margin = errors.margin(weight)
        loss = (margin - 0.5).square()
        return Loss(loss, errors.figures(loss, margin))
