"""Conservative DPO: for people whose choices are wrong now and then."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, ClassVar, Literal

from ppd_lightning.settings.part import settings
from ppd_lightning.settings.values import Fraction
from ppd_lightning.training.objectives.objective import Loss, Objective, PairErrors

if TYPE_CHECKING:
    from collections.abc import Iterator

    from torch import Tensor


@settings
class CDPO(Objective):
    """PPD's loss with smoothed labels: a choice is taken to be right with probability 1 - label_smoothing only.

    Conservative DPO (Mitchell, "A note on DPO with noisy preferences & relationship to IPO", 2023; compared with others
    in arXiv 2403.00409). It is least at the margin log((1 - label_smoothing) / label_smoothing).
    """

    name: Literal["cdpo"]
    label_smoothing: Fraction
    """Share of choices that are taken to be the wrong way round; below 1/2."""

    title: ClassVar[str] = "conservative PPD"
    formula: ClassVar[str] = "that of PPD, mixed with the same of the opposite choice"
    first_loss: ClassVar[float | None] = math.log(2)

    def contradictions(self) -> Iterator[str]:
        """See `Part`."""
        if self.label_smoothing >= 0.5:
            yield (
                "objective.label_smoothing: must be below 0.5, where choices tell nothing any more, and "
                f"{self.label_smoothing:g} is not"
            )

    def loss(self, errors: PairErrors, weight: Tensor) -> Loss:
        """-(1 - label_smoothing) log sigmoid(m) - label_smoothing log sigmoid(-m)."""
        from torch.nn.functional import logsigmoid

        margin = errors.margin(weight)
        loss = -(1 - self.label_smoothing) * logsigmoid(margin) - self.label_smoothing * logsigmoid(-margin)
        return Loss(loss, errors.figures(loss, margin))
