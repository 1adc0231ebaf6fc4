"""The sampler of Stable Cascade's stages, by diffusers' scheduler.

B = batch.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from diffusers import DDPMWuerstchenScheduler
from torch import Tensor


class DDPMSampler:
    """Ancestral sampling in continuous time: the times go from 1 to 0 in equal steps.

    Args:
        scheduler: its timesteps are set by every call of `timesteps`.
    """

    def __init__(self, scheduler: DDPMWuerstchenScheduler) -> None:
        self.scheduler = scheduler

    def timesteps(self, steps: int, device: torch.device | str) -> Tensor:
        """The times (steps,) at which predictions are made; the last step leads to time 0."""
        self.scheduler.set_timesteps(steps, device=device)
        times: Tensor = self.scheduler.timesteps[:-1]
        return times

    def step(self, prediction: Tensor, t: Tensor, latents: Tensor, generators: Sequence[torch.Generator]) -> Tensor:
        """Latents (B, ...) at time t () to those at the next time, by the predicted noise (B, ...).

        Each image's noise comes from its own generator, one for each of the B images.
        """
        times, noise = t.expand(len(latents)), list(generators)
        after: Tensor = self.scheduler.step(prediction, times, latents, generator=noise, return_dict=False)[0]
        return after
