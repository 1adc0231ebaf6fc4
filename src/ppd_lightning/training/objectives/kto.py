"""Diffusion-KTO: each image by itself, liked or not; what it was compared with does not count."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Literal

from ppd_lightning.settings.part import settings
from ppd_lightning.settings.values import Fraction
from ppd_lightning.training.objectives.objective import Loss, Objective, PairErrors

if TYPE_CHECKING:
    from torch import Tensor


@settings
class KTO(Objective):
    """Diffusion-KTO (arXiv 2404.04465) with the sigmoid as utility: 1 - sigmoid(y r) of each image.

    r is the image's implicit reward, -C w(t) times the policy's error less the reference's; y is 1 for the preferred
    and -1 for the dispreferred image. The paper subtracts from r its mean over a batch, at least 0; here r is compared
    with 0, the reference's own, for a pair's loss must not depend on what else is in its batch. The paper draws liked
    images more often; here they weigh more, which is the same in the mean.
    """

    name: Literal["kto"]
    preferred_share: Fraction
    """Weight of the preferred images; the dispreferred ones have the rest. 0.8 as in the paper."""

    title: ClassVar[str] = "Diffusion-KTO"
    summary: ClassVar[str] = "user cross-attention trained on which images each person chose and which not"
    formula: ClassVar[str] = "1 - sigmoid of either image's own implicit reward, negative for the dispreferred one"
    first_loss: ClassVar[float | None] = 0.5

    def loss(self, errors: PairErrors, weight: Tensor) -> Loss:
        """The weighted mean over both images."""
        import torch

        liked, other = (torch.sigmoid(weight * errors.gain(0)), torch.sigmoid(-weight * errors.gain(1)))
        loss = self.preferred_share * liked + (1 - self.preferred_share) * other
        return Loss(loss, errors.figures(loss, errors.margin(weight)))
