"""Every path by its definition, in float64: what is noised comes back, and weights are those of the noise's error."""

from __future__ import annotations

import pytest
import torch
from diffusers import DDPMScheduler, EulerDiscreteScheduler, FlowMatchEulerDiscreteScheduler
from torch import Tensor

from ppd_lightning.diffusion.betas import BetasPath
from ppd_lightning.diffusion.path import DiffusionPath
from ppd_lightning.diffusion.schedule import CosineSchedule
from ppd_lightning.diffusion.straight import StraightPath
from ppd_lightning.diffusion.weighting import TimeWeight

PATHS = {
    "cosine": CosineSchedule(),
    "epsilon": BetasPath(),
    "v": BetasPath("v_prediction"),
    "v, zero terminal SNR": BetasPath("v_prediction", zero_terminal_snr=True),
    "straight": StraightPath(),
    "straight, shift 3": StraightPath(3.0),
}
VELOCITIES = [name for name in PATHS if name not in ("cosine", "epsilon")]
RELEASED = {"beta_start": 0.00085, "beta_end": 0.012, "beta_schedule": "scaled_linear"}


@pytest.fixture(params=PATHS)
def path(request: pytest.FixtureRequest) -> DiffusionPath:
    return PATHS[request.param]


def drawn(count: int = 50) -> tuple[Tensor, Tensor, Tensor]:
    """Clean latents, noise, and times."""
    generator = torch.Generator().manual_seed(0)
    x0, noise = torch.randn(2, count, 4, 3, 3, generator=generator, dtype=torch.float64)
    return x0, noise, torch.rand(count, generator=generator, dtype=torch.float64).clamp(0.001, 0.999)


def test_what_the_target_says_is_the_latent_and_the_noise(path: DiffusionPath) -> None:
    x0, noise, t = drawn()
    found = path.data_and_noise(path.target(x0, noise, t), path.add_noise(x0, noise, t), t)
    torch.testing.assert_close(found, (x0, noise))


def test_an_error_of_the_prediction_is_an_error_of_the_noise_by_its_weight(path: DiffusionPath) -> None:
    x0, noise, t = drawn()
    wrong = torch.randn(x0.shape, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    noised, target = path.add_noise(x0, noise, t), path.target(x0, noise, t)
    _, found = path.data_and_noise(target + wrong, noised, t)
    errors = (found - noise).square().flatten(1).mean(1)
    torch.testing.assert_close(errors, path.noise_error_weight(t) * wrong.square().flatten(1).mean(1))


def test_the_bounds_weight_is_the_slope_of_the_log_snr_times_that_weight(path: DiffusionPath) -> None:
    t = torch.linspace(0.1, 0.9, 41, dtype=torch.float64) + 5e-4  # the middle of a step of the tables
    step = 1e-3
    slope = (path.log_snr(t - step) - path.log_snr(t + step)) * path.noise_error_weight(t)
    ratio = path.elbo_weight(t) / slope
    torch.testing.assert_close(ratio, ratio[:1].expand_as(ratio), rtol=1e-3, atol=0)


@pytest.mark.parametrize("name", PATHS)
def test_p2_is_the_noises_share_times_that_weight(name: str) -> None:
    path, times = PATHS[name], TimeWeight.bin_times(0.001, 1.0)
    expected = path.sigma(times.double()).square()
    if name in VELOCITIES:
        expected = expected * path.alpha(times.double()).square()
    weights = TimeWeight("p2", path, 0.001, 1.0)(times).double()
    torch.testing.assert_close(weights, expected / expected.mean(), rtol=1e-5, atol=1e-7)


def test_a_log_snr_is_that_of_the_scales(path: DiffusionPath) -> None:
    t = torch.linspace(0.01, 0.98, 50, dtype=torch.float64)
    torch.testing.assert_close(path.log_snr(t), 2 * (path.alpha(t) / path.sigma(t)).log())


@pytest.mark.parametrize("prediction", ["epsilon", "v_prediction"])
def test_the_table_noises_and_aims_as_diffusers_does(prediction: str) -> None:
    scheduler = DDPMScheduler(**RELEASED, prediction_type=prediction)
    steps = torch.tensor([0, 1, 500, 998, 999])
    x0, noise = torch.randn(2, len(steps), 4, 3, 3, generator=torch.Generator().manual_seed(0))
    path, t = BetasPath(prediction), (steps + 0.25) / 1000
    torch.testing.assert_close(path.network_time(t), steps.float())
    torch.testing.assert_close(
        path.add_noise(x0, noise, t), scheduler.add_noise(x0, noise, steps), rtol=1e-5, atol=1e-5
    )
    expected = noise if prediction == "epsilon" else scheduler.get_velocity(x0, noise, steps)
    torch.testing.assert_close(path.target(x0, noise, t), expected, rtol=1e-5, atol=1e-5)


def test_a_terminal_step_of_noise_alone_is_that_of_diffusers() -> None:
    scheduler = EulerDiscreteScheduler(**RELEASED, prediction_type="v_prediction", rescale_betas_zero_snr=True)
    ours = BetasPath("v_prediction", zero_terminal_snr=True).alpha_bar((torch.arange(1000) + 0.5) / 1000)
    torch.testing.assert_close(ours, scheduler.alphas_cumprod, rtol=1e-4, atol=1e-6)


def test_uniform_times_are_uniform_steps() -> None:
    steps = BetasPath().steps((torch.arange(100_000) + 0.5) / 100_000)
    assert torch.equal(steps.bincount(), torch.full((1000,), 100))
    assert BetasPath().steps(torch.tensor([0.0, 1.0])).tolist() == [0, 999]


def test_uniform_times_have_the_noise_of_the_shifted_table() -> None:
    scheduler = FlowMatchEulerDiscreteScheduler(shift=3.0)
    t = torch.arange(1000, 0, -1) / 1000
    torch.testing.assert_close(StraightPath(3.0).sigma(t), scheduler.sigmas)
    torch.testing.assert_close(StraightPath(3.0).network_time(t), scheduler.timesteps)
