"""What Stage C is asked about pairs: their latents with the noise and at the times that are drawn for them.

B = pairs in a batch, S = 2 where both images of a pair are asked about, 1 where the preferred one is alone.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from diffusers import StableCascadeUNet
from torch import Tensor

from ppd_lightning.backbones.cascade.prior import predict_noise
from ppd_lightning.config.schemas import Objective
from ppd_lightning.diffusion.draws import Draw
from ppd_lightning.diffusion.objectives import noise_error
from ppd_lightning.diffusion.schedule import CosineSchedule

Batch = dict[str, Tensor]


@dataclass(frozen=True)
class Noised:
    """The first B rows are the preferred images, the others the dispreferred ones.

    inputs: of `predict_noise`, each with S B rows. noise: what is in them. sides: S.
    """

    inputs: tuple[Tensor, Tensor, Tensor, Tensor]
    noise: Tensor
    sides: int

    def errors(self, prior: StableCascadeUNet) -> tuple[Tensor, ...]:
        """Mean squared noise errors of the network as it is, S times (B,) float32."""
        return noise_error(predict_noise(prior, *self.inputs), self.noise).chunk(self.sides)


def drawn_times(objective: Objective, draws: Draw) -> Tensor:
    """The times (B,) of the draws, between the objective's lowest and highest."""
    return objective.t_min + (objective.t_max - objective.t_min) * draws.t


def noised_sides(objective: Objective, batch: Batch, draws: Draw, *, with_dispreferred: bool = True) -> Noised:
    """The noised images of a batch (see `PPDModule`; its users are not needed), and what goes with them."""
    sides = [(batch["latents_preferred"], draws.noise_preferred)]
    if with_dispreferred:
        sides += [
            (
                batch["latents_dispreferred"],
                draws.noise_preferred if objective.share_noise else draws.noise_dispreferred,
            )
        ]
    count, t, schedule = len(sides), drawn_times(objective, draws), CosineSchedule()
    noise = torch.cat([noise for _, noise in sides])
    noised = torch.cat([schedule.add_noise(latents, noise, t) for latents, noise in sides])
    text, pooled = batch["text"].repeat(count, 1, 1), batch["text_pooled"].repeat(count, 1, 1)
    return Noised((noised, t.repeat(count), text, pooled), noise, count)
