"""PPD with a dispersion loss: what the branch makes of one person is kept away from what it makes of others."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, ClassVar, Literal

from ppd_lightning.settings.part import settings
from ppd_lightning.settings.values import Draws, NonNegative, Positive
from ppd_lightning.training.objectives.objective import Loss, Objective, PairErrors

if TYPE_CHECKING:
    from torch import Tensor


@settings
class Dispersion(Objective):
    """PPD's loss and the dispersion loss of Premier (arXiv 2603.20725).

    Premier adds to its flow loss log mean exp(-D) over the other users of the batch, D being the L2 distance of what
    its adapter makes of two users for an empty prompt, so that its adapter does not draw one taste for all. Here D is
    `UserBranch.distances`, a root mean square, in units of `dispersion_scale`; and the others are drawn for each pair,
    not taken from its batch, so that a step does not depend on how its pairs are split. Where a null user is learned, a
    dropped person is compared as that one.
    """

    name: Literal["dispersion"]
    dispersion_weight: NonNegative
    """Weight of the dispersion loss; 0 is PPD."""
    dispersion_scale: Positive
    """The distance at which an other counts 1/e of one who is drawn alike."""
    other_users: Draws
    """How many others each pair's person is compared with."""

    title: ClassVar[str] = "PPD with dispersion"
    summary: ClassVar[str] = "user cross-attention trained on people's choices, which keeps people apart"
    formula: ClassVar[str] = "that of PPD, with the log of the mean over other people of exp(-distance)"
    first_loss: ClassVar[float | None] = math.log(2)
    needs_distances: ClassVar[bool] = True

    @property
    def compared_users(self) -> int:
        """See `Objective`."""
        return self.other_users

    def loss(self, errors: PairErrors, weight: Tensor) -> Loss:
        """-log sigmoid of the margin, and dispersion_weight times log mean exp(-distance / dispersion_scale).

        Raises:
            ValueError: nobody is there to be compared with.
        """
        if errors.distances is None:
            raise ValueError(
                "objective dispersion: a training batch needs others, (B, K, E): users to compare with; a "
                "PreferenceDataModule that is given draws adds them"
            )
        made = errors.preference_loss(weight)
        alike = (-errors.distances / self.dispersion_scale).logsumexp(1) - math.log(self.other_users)
        figures = {"loss": made.total + self.dispersion_weight * alike, "distance": errors.distances.mean(1)}
        return Loss(figures["loss"], made.figures | {name: value.detach() for name, value in figures.items()})
