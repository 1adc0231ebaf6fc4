"""The cosine noise schedule, for networks that predict the noise.

Sources: Nichol and Dhariwal 2021; the clamp is that of `gdf/schedulers.py` in Stability AI's training code.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from ppd_lightning.diffusion.path import per_example


class CosineSchedule:
    """x_t = alpha(t) x_0 + sigma(t) noise with alpha^2 + sigma^2 = 1 and t in [0, 1].

    alpha_bar(t) = cos^2(((s + t) / (1 + s)) pi/2) / cos^2((s / (1 + s)) pi/2), kept within [1e-4, 0.9999].

    Args:
        s: the offset of the cosine.
    """

    LOWEST, HIGHEST = 1e-4, 0.9999

    def __init__(self, s: float = 0.008) -> None:
        self.s = s

    def alpha_bar(self, t: Tensor) -> Tensor:
        """Squared signal scale at times t (B,)."""
        start = math.cos(self.s / (1 + self.s) * math.pi / 2) ** 2
        signal = torch.cos((t + self.s) / (1 + self.s) * math.pi / 2).square() / start
        return signal.clamp(self.LOWEST, self.HIGHEST)

    def alpha(self, t: Tensor) -> Tensor:
        """Signal scale at times t (B,)."""
        return self.alpha_bar(t).sqrt()

    def sigma(self, t: Tensor) -> Tensor:
        """Noise scale at times t (B,)."""
        return (1 - self.alpha_bar(t)).sqrt()

    def log_snr(self, t: Tensor) -> Tensor:
        """lambda(t) = log(alpha^2 / sigma^2), within [-9.21, 9.21]."""
        return torch.logit(self.alpha_bar(t))

    def network_time(self, t: Tensor) -> Tensor:
        """The times as they are."""
        return t

    def add_noise(self, x0: Tensor, noise: Tensor, t: Tensor) -> Tensor:
        """Latents x0 and noise (B, ...) at times t (B,) to noised latents of the same shape."""
        shape = (-1,) + (1,) * (x0.ndim - 1)
        return self.alpha(t).view(shape) * x0 + self.sigma(t).view(shape) * noise

    def elbo_weight(self, t: Tensor) -> Tensor:
        """-d lambda / dt up to a constant factor; where alpha_bar is clamped its slope is taken as it would be."""
        # d lambda / dt = -2 (pi/2) / (1+s) tan(.) / sigma^2
        angle = (t + self.s) / (1 + self.s) * math.pi / 2
        return torch.tan(angle) / self.sigma(t).square()

    def noise_error_weight(self, t: Tensor) -> Tensor:
        """1: the noise is what is predicted."""
        return torch.ones_like(t)

    def target(self, x0: Tensor, noise: Tensor, t: Tensor) -> Tensor:
        """The noise itself."""
        return noise

    def data_and_noise(self, prediction: Tensor, noised: Tensor, t: Tensor) -> tuple[Tensor, Tensor]:
        """See `DiffusionPath`."""
        alpha, sigma = per_example(self.alpha(t), noised), per_example(self.sigma(t), noised)
        return (noised - sigma * prediction) / alpha, prediction
