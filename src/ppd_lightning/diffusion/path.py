"""The way from an image's latents to noise: what a loss and a sampler need of it, whichever model family walks it.

B = batch.
"""

from __future__ import annotations

from typing import Protocol

from torch import Tensor


class DiffusionPath(Protocol):
    """x_t = alpha(t) x_0 + sigma(t) noise at times t in [0, 1], and what a network predicts of it.

    Times are those that `diffusion/draws.py` draws uniformly, before any shift of the model: settings such as
    `objective.t_min` and `generation.user_guidance_interval` mean these.
    """

    def alpha(self, t: Tensor) -> Tensor:
        """Signal scale at times t (B,)."""

    def sigma(self, t: Tensor) -> Tensor:
        """Noise scale at times t (B,)."""

    def log_snr(self, t: Tensor) -> Tensor:
        """lambda(t) = log(alpha^2 / sigma^2) at times t (B,)."""

    def network_time(self, t: Tensor) -> Tensor:
        """What the network reads as its time at times t (B,), of t's dtype."""

    def elbo_weight(self, t: Tensor) -> Tensor:
        """The weight of the variational bound for the network's prediction at times t (B,), up to a constant factor."""

    def noise_error_weight(self, t: Tensor) -> Tensor:
        """At times t (B,), the mean squared error of the noise for an error of 1 of the network's prediction.

        1 where the noise is predicted, alpha^2 where a velocity is: a weight that is stated for errors of the noise is
        multiplied by it.
        """

    def add_noise(self, x0: Tensor, noise: Tensor, t: Tensor) -> Tensor:
        """Latents x0 and noise (B, ...) at times t (B,) to noised latents of the same shape."""

    def target(self, x0: Tensor, noise: Tensor, t: Tensor) -> Tensor:
        """What the network should predict (B, ...) of the noised latents."""

    def data_and_noise(self, prediction: Tensor, noised: Tensor, t: Tensor) -> tuple[Tensor, Tensor]:
        """Clean latents x0 and noise, (B, ...) each, that a prediction (B, ...) finds in noised latents at t (B,)."""


class PathWithGrid(DiffusionPath, Protocol):
    """A path that knows at which times its released pipeline makes predictions."""

    def sampling_times(self, steps: int) -> Tensor:
        """Times t (steps,) float32 in falling order; after the last one comes the clean latent.

        Raises:
            ValueError: there are not so many.
        """


def per_example(values: Tensor, like: Tensor) -> Tensor:
    """Values (B,) as (B, 1, ...), so that they multiply `like` (B, ...)."""
    return values.view(-1, *(1,) * (like.ndim - 1))
