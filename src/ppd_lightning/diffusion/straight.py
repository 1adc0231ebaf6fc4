"""Rectified flow: a straight way from latents to noise, for networks that predict the velocity noise - x0.

B = batch. Sources: Liu et al. 2022, arXiv 2209.03003; Esser et al. 2024, arXiv 2403.03206 (the shift). diffusers'
`FlowMatchEulerDiscreteScheduler` has the same shift and grid.
"""

from __future__ import annotations

import torch
from torch import Tensor

from ppd_lightning.diffusion.path import per_example

STEPS = 1000
"""The network reads STEPS times sigma."""


class StraightPath:
    """x_t = (1 - s) x_0 + s noise with s = shift t / (1 + (shift - 1) t).

    t is the time *before* the shift: uniform times give the distribution over noise that the released scheduler's own
    table has, and 0.5 is the middle of a drawing, not equal parts of signal and noise.

    Args:
        shift: how much more time is spent at high noise; 1 is none, Stable Diffusion 3 has 3.
    """

    def __init__(self, shift: float = 1.0) -> None:
        self.shift = shift

    def alpha(self, t: Tensor) -> Tensor:
        """Signal scale 1 - s at times t (B,)."""
        return (1 - t) / (1 + (self.shift - 1) * t)

    def sigma(self, t: Tensor) -> Tensor:
        """Noise scale s at times t (B,)."""
        return self.shift * t / (1 + (self.shift - 1) * t)

    def log_snr(self, t: Tensor) -> Tensor:
        """See `DiffusionPath`."""
        return 2 * (self.alpha(t).log() - self.sigma(t).log())

    def network_time(self, t: Tensor) -> Tensor:
        """1000 s."""
        return STEPS * self.sigma(t)

    def elbo_weight(self, t: Tensor) -> Tensor:
        """-d lambda / dt alpha^2 = 2 (1 - s) / s ds/dt, with ds/dt = shift / (1 + (shift - 1) t)^2."""
        return 2 * self.alpha(t) / self.sigma(t) * self.shift / (1 + (self.shift - 1) * t).square()

    def noise_error_weight(self, t: Tensor) -> Tensor:
        """alpha^2: an error of the velocity is that of the noise divided by alpha."""
        return self.alpha(t).square()

    def add_noise(self, x0: Tensor, noise: Tensor, t: Tensor) -> Tensor:
        """See `DiffusionPath`."""
        return per_example(self.alpha(t), x0) * x0 + per_example(self.sigma(t), x0) * noise

    def target(self, x0: Tensor, noise: Tensor, t: Tensor) -> Tensor:
        """The velocity noise - x0."""
        return noise - x0

    def data_and_noise(self, prediction: Tensor, noised: Tensor, t: Tensor) -> tuple[Tensor, Tensor]:
        """See `DiffusionPath`."""
        alpha, sigma = per_example(self.alpha(t), noised), per_example(self.sigma(t), noised)
        return noised - sigma * prediction, noised + alpha * prediction

    def sampling_times(self, steps: int) -> Tensor:
        """Equal steps from 1 to the smallest noise of the scheduler's table, which is the shifted 1/1000.

        Raises:
            ValueError: no steps.
        """
        if steps < 1:
            raise ValueError(f"drawing needs at least one step, got {steps}")
        smallest = self.sigma(torch.tensor(1 / STEPS, dtype=torch.float64)).item()
        return torch.linspace(1, smallest, steps, dtype=torch.float64).float()
