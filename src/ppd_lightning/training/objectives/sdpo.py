"""Diffusion-SDPO: PPD that holds the dispreferred image's gradient back where it would harm the preferred one."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, ClassVar, Literal

from ppd_lightning.settings.part import settings
from ppd_lightning.settings.values import Fraction
from ppd_lightning.training.objectives.objective import Loss, Objective, PairErrors

if TYPE_CHECKING:
    from torch import Tensor


@settings
class SDPO(Objective):
    """Diffusion-SDPO (arXiv 2511.03317): Diffusion-DPO's loss, the gradient of the dispreferred error times lambda.

    With A and B the errors on the preferred and the dispreferred image, a step along -grad A + lambda grad B lowers A
    to first order by mu |grad A|^2 at least where lambda <= (1 - mu) |grad A|^2 / (grad A . grad B). As in the paper
    the gradients are those by the predictions, in place of those by the weights; lambda is at most 1, and 1 where they
    do not point the same way. Theirs is one for all pairs of a device, here it is each pair's own, so that a step does
    not depend on how its pairs are split.
    """

    name: Literal["sdpo"]
    mu: Fraction
    """Share of the preferred image's own descent that is kept at least."""

    title: ClassVar[str] = "Diffusion-SDPO"
    summary: ClassVar[str] = "user cross-attention trained on people's choices, safeguarding what each one preferred"
    formula: ClassVar[str] = "that of PPD, with the gradient of the dispreferred error scaled so that the other falls"
    first_loss: ClassVar[float | None] = math.log(2)
    needs_product: ClassVar[bool] = True

    def loss(self, errors: PairErrors, weight: Tensor) -> Loss:
        """-log sigmoid of the margin; its value is PPD's, its gradient is not."""
        preferred, dispreferred = errors.policy
        scale = self.scale(errors)
        held = dispreferred.detach() + scale * (dispreferred - dispreferred.detach())
        made = PairErrors((preferred, held), errors.reference).preference_loss(weight)
        return Loss(made.total, made.figures | {"scale_dispreferred": scale})

    def scale(self, errors: PairErrors) -> Tensor:
        """Lambda of each pair, (B,), without gradient."""
        import torch

        assert errors.product is not None
        product, preferred = errors.product.detach(), errors.policy[0].detach()
        tiny = torch.finfo(product.dtype).tiny
        bound = (1 - self.mu) * preferred / product.clamp(min=tiny)
        return torch.where(product > 0, bound, torch.inf).clamp(max=1)
