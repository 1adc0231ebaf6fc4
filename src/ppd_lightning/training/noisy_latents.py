"""Noisy latents of pairs at the times that are drawn for them, and the errors of a network's predictions on them.

B = pairs in a batch, S = 2 for both images of a pair, 1 for the preferred one alone.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from ppd_lightning.diffusion.draws import Draw
from ppd_lightning.diffusion.losses import prediction_error
from ppd_lightning.training.objectives.objective import Objective

if TYPE_CHECKING:
    from ppd_lightning.backbones.backbone import Backbone

Batch = dict[str, Tensor]


@dataclass(frozen=True)
class NoisyLatents:
    """What a backbone's network is asked about the images of a batch.

    The first B rows are the preferred images, the others the dispreferred ones.

    latents: (S B, ...) with noise. t: (S B,) times. conditions: of the captions, (S B, ...) each. target: (S B, ...),
    what the network should predict. sides: S.
    """

    latents: Tensor
    t: Tensor
    conditions: dict[str, Tensor]
    target: Tensor
    sides: int

    def predicted(self, backbone: Backbone, network: nn.Module) -> Tensor:
        """The network's predictions as it is, of the target's shape."""
        return backbone.predict(network, self.latents, self.t, self.conditions)

    def errors(self, backbone: Backbone, network: nn.Module) -> tuple[Tensor, ...]:
        """Mean squared errors of the network's predictions as it is, S times (B,) float32."""
        return self.errors_of(self.predicted(backbone, network))

    def errors_of(self, predicted: Tensor) -> tuple[Tensor, ...]:
        """Mean squared errors of predictions, S times (B,) float32."""
        return prediction_error(predicted, self.target).chunk(self.sides)

    @torch.no_grad()
    def product_of(self, predicted: Tensor) -> Tensor:
        """See `PairErrors.product`, (B,) float32; of both images."""
        preferred, dispreferred = (predicted.float() - self.target.float()).flatten(1).chunk(2)
        return (preferred * dispreferred).mean(1)


def drawn_times(objective: Objective, draws: Draw) -> Tensor:
    """The times (B,) of the draws, between the objective's lowest and highest."""
    return objective.t_min + (objective.t_max - objective.t_min) * draws.t


def noisy_latents(
    backbone: Backbone, objective: Objective, batch: Batch, draws: Draw, *, with_dispreferred: bool = True
) -> NoisyLatents:
    """The images of a batch (see `PPDModule`; its users are not needed) with the draws' noise, at the draws' times."""
    sides = [(batch["latents_preferred"], draws.noise_preferred)]
    if with_dispreferred:
        noise = draws.noise_preferred if objective.share_noise else draws.noise_dispreferred
        assert noise is not None
        sides.append((batch["latents_dispreferred"], noise))
    path, t = backbone.diffusion_path, drawn_times(objective, draws)
    return NoisyLatents(
        torch.cat([path.add_noise(latents, noise, t) for latents, noise in sides]),
        t.repeat(len(sides)),
        {name: _repeated(batch[name], len(sides)) for name in backbone.text_arrays},
        torch.cat([path.target(latents, noise, t) for latents, noise in sides]),
        len(sides),
    )


def _repeated(values: Tensor, times: int) -> Tensor:
    """(B, ...) one after the other, (times B, ...)."""
    return values.repeat(times, *(1,) * (values.ndim - 1))
