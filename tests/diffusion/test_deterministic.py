"""The one sampler is each family's released one, step for step, to the rounding of float32."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from diffusers import DDIMScheduler, EulerDiscreteScheduler, FlowMatchEulerDiscreteScheduler
from torch import Tensor

from ppd_lightning.diffusion.betas import BetasPath
from ppd_lightning.diffusion.deterministic import DeterministicSampler
from ppd_lightning.diffusion.straight import StraightPath

TABLE = {"beta_start": 0.00085, "beta_end": 0.012, "beta_schedule": "scaled_linear", "steps_offset": 1}
TABLE |= {"timestep_spacing": "leading"}
PREDICTIONS = ("epsilon", "v_prediction")


def network(x: Tensor, time: Tensor) -> Tensor:
    """A made-up one, of the latents and the time that it reads."""
    weights = torch.randn(16, 16, generator=torch.Generator().manual_seed(5)) / 8
    return torch.tanh(x @ weights) + 1e-4 * time


def ours(path: Any, noise: Tensor, steps: int) -> tuple[Tensor, Tensor]:
    """What is drawn, and the times that the network read."""
    sampler, x = DeterministicSampler(path), noise
    times = sampler.timesteps(steps, "cpu")
    for t in times:
        x = sampler.step(network(x, path.network_time(t)), t, x, [])
    return x, path.network_time(times)


def theirs(scheduler: Any, noise: Tensor, steps: int) -> tuple[Tensor, Tensor]:
    scheduler.set_timesteps(steps)
    x = noise * scheduler.init_noise_sigma if hasattr(scheduler, "init_noise_sigma") else noise
    for t in scheduler.timesteps:
        read = scheduler.scale_model_input(x, t) if hasattr(scheduler, "scale_model_input") else x
        x = scheduler.step(network(read, t), t, x, return_dict=False)[0]
    return x, scheduler.timesteps.float()


def made() -> dict[str, tuple[Any, Callable[[], Any]]]:
    pairs: dict[str, tuple[Any, Callable[[], Any]]] = {}
    for kind in PREDICTIONS:
        euler = {**TABLE, "prediction_type": kind}
        ddim = {**euler, "clip_sample": False, "set_alpha_to_one": True}
        pairs[f"EulerDiscrete, {kind}"] = BetasPath(kind), lambda own=euler: EulerDiscreteScheduler(**own)
        pairs[f"DDIM, {kind}"] = BetasPath(kind), lambda own=ddim: DDIMScheduler(**own)
        snr = {**euler, "rescale_betas_zero_snr": True}
        zero = BetasPath(kind, zero_terminal_snr=True)
        pairs[f"EulerDiscrete, zero SNR, {kind}"] = zero, lambda own=snr: EulerDiscreteScheduler(**own)
    for shift in (1.0, 3.0):
        pairs[f"FlowMatchEuler, {shift}"] = (
            StraightPath(shift),
            lambda own=shift: FlowMatchEulerDiscreteScheduler(shift=own),
        )
    return pairs


@pytest.mark.parametrize("name", made())
@pytest.mark.parametrize("steps", [1, 12, 30])
def test_it_draws_what_the_released_scheduler_draws(name: str, steps: int) -> None:
    path, scheduler = made()[name]
    noise = torch.randn(3, 16, generator=torch.Generator().manual_seed(0))
    (x, times), (expected, expected_times) = ours(path, noise, steps), theirs(scheduler(), noise, steps)
    torch.testing.assert_close(times, expected_times, rtol=1e-5, atol=1e-3)
    torch.testing.assert_close(x, expected, rtol=2e-5, atol=2e-5 * expected.abs().max().item())


def test_a_perfect_network_gives_the_latent_back_at_once() -> None:
    for path in (BetasPath(), BetasPath("v_prediction"), StraightPath(3.0)):
        x0, noise = torch.randn(2, 2, 4, 3, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
        sampler = DeterministicSampler(path)
        times = sampler.timesteps(7, "cpu")
        at = times[:1].double().expand(2)
        x = path.add_noise(x0, noise, at)
        for t in times:
            x = sampler.step(path.target(x0, noise, t.double().expand(2)), t.double(), x, [])
        torch.testing.assert_close(x, x0, rtol=1e-5, atol=1e-5)


def test_a_time_of_another_drawing_and_impossible_numbers_of_steps_are_refused() -> None:
    sampler = DeterministicSampler(BetasPath())
    sampler.timesteps(4, "cpu")
    with pytest.raises(ValueError, match=r"0\.123 is none of the 4 times"):
        sampler.step(torch.zeros(1, 4), torch.tensor(0.123), torch.zeros(1, 4), [])
    for path, steps in ((BetasPath(), 0), (BetasPath(), 1001), (StraightPath(), 0)):
        with pytest.raises(ValueError, match=r"steps?, got"):
            path.sampling_times(steps)
