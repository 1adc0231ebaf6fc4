from __future__ import annotations

import pytest
import torch
from diffusers import DDPMWuerstchenScheduler

from ppd_lightning.backbones.cascade.sampler import DDPMSampler
from ppd_lightning.diffusion.schedule import CosineSchedule


@pytest.mark.parametrize(("steps", "documented"), [(10, 15), (20, 8)])
def test_the_first_step_multiplies_what_is_added_to_a_prediction(steps: int, documented: int) -> None:
    """By (1 - a) / sqrt(a (1 - abar(1))) with a = abar(1) / abar(t1); docs/generate_export.md has the figures."""
    sampler, latents = DDPMSampler(DDPMWuerstchenScheduler()), torch.zeros(1, 2, 2, 2)
    times = sampler.timesteps(steps, "cpu")
    zero = torch.zeros_like(latents)

    def after(added: float, step: int) -> float:
        noise = [torch.Generator().manual_seed(0)]
        return float((sampler.step(zero + added, times[step], latents, noise)).mean())

    moved = [after(0, step) - after(1, step) for step in range(3)]
    abar = CosineSchedule().alpha_bar(times[:2]).double()
    alpha = abar[0] / abar[1]
    assert moved[0] == pytest.approx(float((1 - alpha) / (alpha * (1 - abar[0])).sqrt()), rel=1e-3)
    assert round(moved[0]) == documented
    assert all(0 < later < moved[0] / 3 for later in moved[1:])
