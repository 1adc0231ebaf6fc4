"""The way from an image's latents to noise: what a loss needs of it, whichever model family walks it.

B = batch.
"""

from __future__ import annotations

from typing import Protocol

from torch import Tensor


class DiffusionPath(Protocol):
    """x_t = alpha(t) x_0 + sigma(t) noise at times t in [0, 1], and what a network predicts of it."""

    def alpha(self, t: Tensor) -> Tensor:
        """Signal scale at times t (B,)."""

    def sigma(self, t: Tensor) -> Tensor:
        """Noise scale at times t (B,)."""

    def log_snr(self, t: Tensor) -> Tensor:
        """lambda(t) = log(alpha^2 / sigma^2) at times t (B,)."""

    def elbo_weight(self, t: Tensor) -> Tensor:
        """The weight of the variational bound for the network's prediction at times t (B,), up to a constant factor."""

    def add_noise(self, x0: Tensor, noise: Tensor, t: Tensor) -> Tensor:
        """Latents x0 and noise (B, ...) at times t (B,) to noised latents of the same shape."""

    def target(self, x0: Tensor, noise: Tensor, t: Tensor) -> Tensor:
        """What the network should predict (B, ...) of the noised latents."""
