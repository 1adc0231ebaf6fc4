"""One sampler for every path: x0 and noise of a prediction, put together again at the next time.

B = batch. It is Euler's method for a flow model, and EulerDiscrete or DDIM (eta 0) for one of noise or v.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from ppd_lightning.diffusion.path import PathWithGrid


class DeterministicSampler:
    """A `backbones.interfaces.Sampler` without noise of its own: drawing starts at noise and ends at the last x0.

    Args:
        path: of the model.
    """

    def __init__(self, path: PathWithGrid) -> None:
        self.path = path
        self._times = torch.empty(0)

    def timesteps(self, steps: int, device: torch.device | str) -> Tensor:
        """The path's times (steps,) float32, in falling order."""
        self._times = self.path.sampling_times(steps).to(device)
        return self._times

    def step(self, prediction: Tensor, t: Tensor, latents: Tensor, generators: Sequence[torch.Generator]) -> Tensor:
        """Latents (B, ...) at time t () to those at the next time; no noise is drawn from the generators.

        Raises:
            ValueError: t is none of the times that were asked for.
        """
        (places,) = torch.nonzero(self._times == t, as_tuple=True)
        if not len(places):
            raise ValueError(f"{t.item():g} is none of the {len(self._times)} times of this drawing")
        x0, noise = self.path.data_and_noise(prediction, latents, t.expand(len(latents)))
        after = self._times[places[0] + 1 :]
        return self.path.add_noise(x0, noise, after[0].expand(len(latents))) if len(after) else x0
