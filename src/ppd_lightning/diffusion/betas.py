"""The noise schedule of Stable Diffusion 1.5 and XL: a table of 1000 steps, for networks that predict noise or v.

B = batch. Sources: Ho et al. 2020; Rombach et al. 2022 (the scaled-linear betas); Salimans and Ho 2022 (v); Lin et al.
2023, arXiv 2305.08891 (zero terminal SNR). diffusers' `EulerDiscreteScheduler` and `DDIMScheduler` have the same table.
"""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

from ppd_lightning.diffusion.path import per_example

Prediction = Literal["epsilon", "v_prediction"]
"""The noise, or the velocity v = alpha noise - sigma x0; in diffusers' words."""

STEPS = 1000
OFFSET = 1
"""`steps_offset` of the released schedulers."""
SMALLEST = 2.0**-24
"""alpha_bar of a terminal step without signal, which would make its log-SNR infinite; diffusers has the same."""


class BetasPath:
    """x_t = alpha x_0 + sigma noise with alpha^2 + sigma^2 = 1; t in [0, 1] is step floor(1000 t), at most 999.

    Uniform times are uniform steps, as the network was trained; the network reads the step's number.

    Args:
        prediction: what the network predicts.
        start, end: beta of the first and the last step; their square roots lie on a line.
        zero_terminal_snr: whether the table is scaled so that the last step is noise alone.
    """

    def __init__(
        self,
        prediction: Prediction = "epsilon",
        start: float = 0.00085,
        end: float = 0.012,
        *,
        zero_terminal_snr: bool = False,
    ) -> None:
        self.prediction = prediction
        betas = torch.linspace(start**0.5, end**0.5, STEPS, dtype=torch.float64).square()
        alpha = (1 - betas).cumprod(0).sqrt()
        if zero_terminal_snr:
            alpha = (alpha - alpha[-1]) * alpha[0] / (alpha[0] - alpha[-1])
        alpha_bar = alpha.square().clamp_min(SMALLEST)
        log_snr = torch.logit(alpha_bar)
        self._tables = {
            "alpha_bar": alpha_bar,
            "alpha": alpha_bar.sqrt(),
            "sigma": (1 - alpha_bar).sqrt(),
            "log_snr": log_snr,
            "falling": -torch.gradient(log_snr)[0],
        }
        self._copies: dict[tuple[str, torch.device, torch.dtype], Tensor] = {}

    def steps(self, t: Tensor) -> Tensor:
        """Times t (B,) to the numbers of their steps (B,) int64."""
        return (t * STEPS).long().clamp(0, STEPS - 1)

    def alpha_bar(self, t: Tensor) -> Tensor:
        """Squared signal scale at times t (B,)."""
        return self._of("alpha_bar", t)

    def alpha(self, t: Tensor) -> Tensor:
        """Signal scale at times t (B,)."""
        return self._of("alpha", t)

    def sigma(self, t: Tensor) -> Tensor:
        """Noise scale at times t (B,)."""
        return self._of("sigma", t)

    def log_snr(self, t: Tensor) -> Tensor:
        """See `DiffusionPath`."""
        return self._of("log_snr", t)

    def network_time(self, t: Tensor) -> Tensor:
        """The numbers of the steps."""
        return self.steps(t).to(t.dtype)

    def elbo_weight(self, t: Tensor) -> Tensor:
        """-d lambda / dt by differences of the table, times alpha^2 where v is predicted."""
        return self._of("falling", t) * self.noise_error_weight(t)

    def noise_error_weight(self, t: Tensor) -> Tensor:
        """1 for the noise; alpha^2 for v, whose error is that of the noise divided by alpha."""
        return torch.ones_like(t) if self.prediction == "epsilon" else self.alpha_bar(t)

    def add_noise(self, x0: Tensor, noise: Tensor, t: Tensor) -> Tensor:
        """See `DiffusionPath`."""
        return per_example(self.alpha(t), x0) * x0 + per_example(self.sigma(t), x0) * noise

    def target(self, x0: Tensor, noise: Tensor, t: Tensor) -> Tensor:
        """The noise itself, or v."""
        if self.prediction == "epsilon":
            return noise
        return per_example(self.alpha(t), x0) * noise - per_example(self.sigma(t), x0) * x0

    def data_and_noise(self, prediction: Tensor, noised: Tensor, t: Tensor) -> tuple[Tensor, Tensor]:
        """See `DiffusionPath`."""
        alpha, sigma = per_example(self.alpha(t), noised), per_example(self.sigma(t), noised)
        if self.prediction == "epsilon":
            return (noised - sigma * prediction) / alpha, prediction
        return alpha * noised - sigma * prediction, sigma * noised + alpha * prediction

    def sampling_times(self, steps: int) -> Tensor:
        """Equal steps from the first on ("leading"), one further as the released pipelines have it.

        Raises:
            ValueError: more than 1000 steps, or none.
        """
        if not 0 < steps <= STEPS:
            raise ValueError(f"this model can be drawn in 1 to {STEPS} steps, got {steps}")
        numbers = torch.arange(steps).flip(0) * (STEPS // steps) + OFFSET
        return (numbers.clamp(max=STEPS - 1) + 0.5) / STEPS  # the middle of a step: rounding cannot leave it

    def _of(self, table: str, t: Tensor) -> Tensor:
        """Values of a table, which is copied to a device once: a GPU is waited for until that is done."""
        key = (table, t.device, t.dtype)
        if key not in self._copies:
            self._copies[key] = self._tables[table].to(t.device, t.dtype)
        return self._copies[key][self.steps(t)]
