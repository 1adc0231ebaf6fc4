"""How much a time step counts: w(t) of the loss, relative to a mean of 1 over the times that are drawn."""

from __future__ import annotations

import torch
from torch import Tensor

from ppd_lightning.diffusion.path import DiffusionPath

WEIGHTINGS = ("const", "p2", "elbo", "adaptive")


class TimeWeight:
    """w(t) (B,) for one of four weightings; the first three are closed forms.

    They multiply errors of what the network predicts, be it the noise or a velocity. p2 and elbo are defined for errors
    of the noise, and turned into weights of the prediction by the path (alpha^2 where it is a velocity).

    - const: 1, as released code has it: Diffusion-DPO's on the noise, that for flow models on the velocity.
    - p2: sigma(t)^2, as Stability AI's training code weights its loss (`gdf/loss_weights.py`, P2 with k = gamma = 1).
    - elbo: -d lambda / dt, the weight of the variational bound.
    - adaptive: 1 / (the frozen reference's mean error at that log-SNR), after the AdaptiveLossWeight of the same file.
      High noise, where layout and style are decided, has small errors that a constant weight drowns.

    Args:
        kind: one of WEIGHTINGS.
        path: of the model.
        t_min, t_max: the times that are drawn.
        reference_errors: for "adaptive", the reference's mean error at BINS times, `bin_times(t_min, t_max)`.

    Raises:
        ValueError: an unknown kind, or "adaptive" without errors.
    """

    BINS = 64

    def __init__(
        self, kind: str, path: DiffusionPath, t_min: float, t_max: float, reference_errors: Tensor | None = None
    ) -> None:
        if kind not in WEIGHTINGS:
            raise ValueError(f"weighting must be one of {', '.join(WEIGHTINGS)}, got {kind!r}")
        if (kind == "adaptive") != (reference_errors is not None):
            raise ValueError("reference_errors belong to weighting 'adaptive' and to no other")
        self.t_min, self.t_max = t_min, t_max
        times = self.bin_times(t_min, t_max).double()
        if reference_errors is not None:
            weights = 1 / reference_errors.double()
        elif kind == "p2":
            weights = path.sigma(times).square() * path.noise_error_weight(times)
        elif kind == "elbo":
            weights = path.elbo_weight(times)
        else:
            weights = torch.ones_like(times)
        self.weights = (weights / weights.mean()).float()

    @classmethod
    def bin_times(cls, t_min: float, t_max: float) -> Tensor:
        """The middle of each bin (BINS,)."""
        return t_min + (t_max - t_min) * (torch.arange(cls.BINS) + 0.5) / cls.BINS

    def __call__(self, t: Tensor) -> Tensor:
        """Times (B,) within [t_min, t_max] to weights (B,)."""
        index = ((t - self.t_min) / (self.t_max - self.t_min) * self.BINS).long().clamp(0, self.BINS - 1)
        self.weights = self.weights.to(t.device)  # a copy, which is waited for, in the first step alone
        return self.weights[index]
