"""MaPO: the margin of likelihoods and the supervised loss, without a reference."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Literal

from ppd_lightning.settings.part import settings
from ppd_lightning.settings.values import NonNegative, Positive
from ppd_lightning.training.objectives.objective import Loss, Objective, PairErrors

if TYPE_CHECKING:
    from torch import Tensor


@settings
class MaPO(Objective):
    """MaPO (arXiv 2406.06424): the error on the preferred image less margin_weight times log sigmoid of the margin.

    The margin is that of bounded scores, margin_scale (s(preferred) - s(dispreferred)), with
    s = x / (exp(x) - 1), x = link_scale times the error. The paper's beta is margin_weight; beta and sft_weight have no
    part in it. Its loss at the first step is that of the base's errors, and so depends on the data.
    """

    name: Literal["mapo"]
    margin_weight: NonNegative
    """Weight of the margin's loss beside the supervised one; 0.1 in the released code."""
    margin_scale: Positive
    """What multiplies the difference of the scores; 1000 in the released code, the steps of its schedule."""
    link_scale: Positive
    """What multiplies an error before its score is taken; 0.5 in the released code."""

    title: ClassVar[str] = "MaPO"
    summary: ClassVar[str] = "user cross-attention trained on what each person preferred, and to what"
    formula: ClassVar[str] = (
        "w(t) times the mean squared error on the preferred image, less log sigmoid of the margin of both images' "
        "bounded scores"
    )
    needs_reference: ClassVar[bool] = False
    needs_both: ClassVar[bool] = True

    def loss(self, errors: PairErrors, weight: Tensor) -> Loss:
        """w(t) times the sum of both parts."""
        from torch.nn.functional import logsigmoid

        preferred, dispreferred = errors.policy
        margin = self.margin_scale * (self._score(preferred) - self._score(dispreferred))
        loss = weight * (preferred - self.margin_weight * logsigmoid(margin))
        figures = {
            "loss": loss,
            "margin": margin,
            "error_preferred": preferred,
            "error_dispreferred": dispreferred,
        }
        return Loss(loss, {name: value.detach() for name, value in figures.items()})

    def _score(self, error: Tensor) -> Tensor:
        x = self.link_scale * error
        return x / x.expm1()
