from __future__ import annotations

import numpy as np
import torch
from diffusers import DDPMWuerstchenScheduler

from ppd_lightning.diffusion.schedule import CosineSchedule

TIMES = torch.linspace(0, 1, 401)


def test_noised_latents_are_those_of_diffusers() -> None:
    generator = torch.Generator().manual_seed(0)
    x0, noise = torch.randn(2, len(TIMES), 16, 3, 3, generator=generator)
    ours = CosineSchedule().add_noise(x0, noise, TIMES)
    theirs = DDPMWuerstchenScheduler().add_noise(x0, noise, TIMES)
    torch.testing.assert_close(ours, theirs, rtol=1e-5, atol=1e-5)


def test_alpha_bar_is_that_of_diffusers() -> None:
    theirs = DDPMWuerstchenScheduler()._alpha_cumprod(TIMES, TIMES.device)
    torch.testing.assert_close(CosineSchedule().alpha_bar(TIMES), theirs, rtol=1e-5, atol=1e-6)


def test_alpha_bar_is_the_cosine_of_the_paper_within_its_limits() -> None:
    t, s = TIMES.double().numpy(), 0.008
    expected = np.cos((s + t) / (1 + s) * np.pi / 2) ** 2 / np.cos(s / (1 + s) * np.pi / 2) ** 2
    expected = np.clip(expected, 1e-4, 0.9999)
    np.testing.assert_allclose(CosineSchedule().alpha_bar(TIMES.double()).numpy(), expected, rtol=1e-12)
    np.testing.assert_allclose(CosineSchedule().alpha_bar(TIMES).numpy(), expected, rtol=1e-4)


def test_signal_and_noise_keep_unit_variance() -> None:
    schedule = CosineSchedule()
    torch.testing.assert_close(schedule.alpha(TIMES) ** 2 + schedule.sigma(TIMES) ** 2, torch.ones_like(TIMES))


def test_log_snr_falls_from_9_21_to_minus_9_21() -> None:
    log_snr = CosineSchedule().log_snr(TIMES.double())
    assert torch.all(log_snr.diff() <= 0)
    torch.testing.assert_close(log_snr[0].item(), np.log(0.9999 / 1e-4), rtol=1e-9, atol=0)
    torch.testing.assert_close(log_snr[-1].item(), -np.log(0.9999 / 1e-4), rtol=1e-9, atol=0)
    schedule = CosineSchedule()
    inner = TIMES[40:-40].double()
    ratio = (schedule.alpha(inner) / schedule.sigma(inner)) ** 2
    torch.testing.assert_close(schedule.log_snr(inner), ratio.log())


def test_the_target_is_the_noise() -> None:
    x0, noise, t = torch.randn(2, 16, 4, 4), torch.randn(2, 16, 4, 4), torch.tensor([0.2, 0.9])
    assert CosineSchedule().target(x0, noise, t) is noise
