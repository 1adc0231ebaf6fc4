from __future__ import annotations

import pytest
import torch
from torch import Tensor

from ppd_lightning.diffusion.schedule import CosineSchedule
from ppd_lightning.diffusion.weighting import WEIGHTINGS, TimeWeight

SCHEDULE = CosineSchedule()


def made(kind: str, t_min: float = 0.001, t_max: float = 1.0, errors: Tensor | None = None) -> TimeWeight:
    if kind == "adaptive" and errors is None:
        errors = torch.rand(TimeWeight.BINS, generator=torch.Generator().manual_seed(0)) + 0.01
    return TimeWeight(kind, SCHEDULE, t_min, t_max, errors)


@pytest.mark.parametrize("kind", WEIGHTINGS)
@pytest.mark.parametrize(("t_min", "t_max"), [(0.001, 1.0), (0.25, 0.75)])
def test_weights_have_mean_1_over_the_times_that_are_drawn(kind: str, t_min: float, t_max: float) -> None:
    times = t_min + (t_max - t_min) * (torch.arange(64_000) + 0.5) / 64_000
    assert made(kind, t_min, t_max)(times).double().mean().item() == pytest.approx(1, abs=1e-5)


def test_const_is_1_everywhere() -> None:
    assert torch.equal(made("const")(torch.rand(50).clamp(0.001)), torch.ones(50))


def test_p2_follows_sigma_squared() -> None:
    times = TimeWeight.bin_times(0.001, 1.0)
    snr = SCHEDULE.log_snr(times.double()).exp()
    expected = 1 / (1 + snr)  # P2 with k = gamma = 1, as gdf/loss_weights.py writes it
    torch.testing.assert_close(made("p2")(times).double(), expected / expected.mean(), rtol=1e-5, atol=0)


def test_elbo_follows_the_slope_of_the_log_snr() -> None:
    times = TimeWeight.bin_times(0.05, 0.95).double()
    step = 1e-6
    slope = (SCHEDULE.log_snr(times - step) - SCHEDULE.log_snr(times + step)) / (2 * step)
    weights = made("elbo", 0.05, 0.95)(times.float()).double()
    torch.testing.assert_close(weights, slope / slope.mean(), rtol=1e-5, atol=0)


def test_adaptive_makes_the_references_error_count_the_same_at_every_time() -> None:
    errors = torch.linspace(0.02, 1.2, TimeWeight.BINS)
    times = TimeWeight.bin_times(0.25, 1.0)
    weighted = made("adaptive", 0.25, 1.0, errors)(times) * errors
    torch.testing.assert_close(weighted, weighted[0].expand_as(weighted))


def test_a_time_belongs_to_the_bin_around_it() -> None:
    errors = torch.arange(1, TimeWeight.BINS + 1).float()
    weight = made("adaptive", 0.2, 0.84, errors)  # bins of 0.01
    places = weight(torch.tensor([0.2, 0.2099, 0.2101, 0.8399, 0.84]))
    expected = 1 / torch.tensor([1.0, 1.0, 2.0, 64.0, 64.0])
    torch.testing.assert_close(places / places[0], expected)


@pytest.mark.parametrize(("kind", "errors"), [("snr", None), ("adaptive", None), ("p2", torch.ones(TimeWeight.BINS))])
def test_what_does_not_go_together_is_refused(kind: str, errors: Tensor | None) -> None:
    with pytest.raises(ValueError, match=r"weighting must be one of|reference_errors"):
        TimeWeight(kind, SCHEDULE, 0.001, 1.0, errors)
