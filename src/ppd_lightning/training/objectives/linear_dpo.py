"""Linear-DPO: pairs keep their weight in proportion to their margin, where the sigmoid's fades."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Literal

from ppd_lightning.settings.part import settings
from ppd_lightning.settings.values import Fraction, Positive
from ppd_lightning.training.objectives.objective import Loss, Objective, PairErrors

if TYPE_CHECKING:
    from collections.abc import Iterator

    from torch import Tensor


@settings
class LinearDPO(Objective):
    """Linear-DPO (arXiv 2605.21123): the difference of the errors, weighted by a clipped linear function of the margin.

    Diffusion-DPO weights the gradient of a pair's margin m by sigmoid(-m); here that is 1/2 - slope m, between floor
    and 1 - floor, without a gradient of its own. The reference is the frozen network, not the paper's moving average of
    the policy. C and w(t) multiply the loss, which the released code leaves out; AdamW does not see the difference.
    """

    name: Literal["linear_dpo"]
    slope: Positive
    """How fast the weight falls with the margin; 0.4 is the released code's 0.2 for beta_dpo = 2 C."""
    floor: Fraction
    """Least weight of a pair, and the largest one's distance to 1; below 1/2. 0 drops the pairs of a large margin."""

    title: ClassVar[str] = "Linear-DPO"
    formula: ClassVar[str] = "minus the margin times a clipped linear weight without gradient"
    first_loss: ClassVar[float | None] = 0.0

    def contradictions(self) -> Iterator[str]:
        """See `Part`."""
        if self.floor >= 0.5:
            yield f"objective.floor: must be below 0.5, or every pair weighs the same, and {self.floor:g} is not"

    def loss(self, errors: PairErrors, weight: Tensor) -> Loss:
        """-(clipped weight) m."""
        margin = errors.margin(weight)
        share = (0.5 - self.slope * margin.detach()).clamp(self.floor, 1 - self.floor)
        loss = -share * margin
        return Loss(loss, errors.figures(loss, margin))
