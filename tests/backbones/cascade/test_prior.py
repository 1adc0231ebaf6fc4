from __future__ import annotations

import pytest
import torch
from tests import tiny

from ppd_lightning.backbones.cascade.prior import predict_noise


def test_stage_c_is_called_with_a_zero_image_and_the_time_as_it_is() -> None:
    prior = tiny.unet()
    noised, t, text, pooled = tiny.inputs(3)
    expected = prior(
        sample=noised,
        timestep_ratio=t,
        clip_text_pooled=pooled,
        clip_text=text,
        clip_img=torch.zeros(3, 1, tiny.IMAGE_WIDTH),
    ).sample
    predicted = predict_noise(prior, noised, t, text, pooled)
    assert torch.equal(predicted, expected)
    assert predicted.shape == noised.shape
    for other in ((noised, 1 - t, text, pooled), (noised, t, text.flip(0), pooled), (noised, t, text, pooled.flip(0))):
        assert not torch.allclose(predict_noise(prior, *other), expected, atol=1e-2)


def test_a_prior_in_bf16_gives_float32_close_to_what_it_gives_in_fp32() -> None:
    """Within 3 % in root mean square: bf16 keeps 8 bits of each of some twenty layers."""
    inputs = tiny.inputs(4)
    expected = predict_noise(tiny.unet(), *inputs)
    predicted = predict_noise(tiny.unet().to(torch.bfloat16), *inputs)
    assert predicted.dtype == torch.float32
    assert 0 < ((predicted - expected).norm() / expected.norm()).item() < 0.03


@pytest.mark.parametrize("low", [0.1, 0.5, 0.9])
def test_a_prior_in_bf16_tells_times_apart_that_bf16_does_not(low: float) -> None:
    prior, (noised, _, text, pooled) = tiny.unet().to(torch.bfloat16), tiny.inputs(1)
    times = [torch.tensor([time]) for time in (low, low + 2e-4)]
    assert times[0].to(torch.bfloat16) == times[1].to(torch.bfloat16)
    near, far = (predict_noise(prior, noised, time, text, pooled) for time in times)
    expected = [predict_noise(tiny.unet(), noised, time, text, pooled) for time in times]
    shift, expected_shift = far - near, expected[1] - expected[0]
    assert (shift - expected_shift).norm() < 0.5 * expected_shift.norm()


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_gradients_reach_the_branch_in_float32(dtype: torch.dtype) -> None:
    gradients = []
    for prior in (tiny.unet(), tiny.unet().to(dtype)):
        branch = tiny.branch(prior)
        with branch.user(tiny.users(3)):
            predict_noise(prior, *tiny.inputs(3)).square().sum().backward()
        assert all(weight.dtype == weight.grad.dtype == torch.float32 for weight in branch.parameters())
        gradients.append(torch.cat([weight.grad.flatten() for weight in branch.parameters()]))
    assert ((gradients[1] - gradients[0]).norm() / gradients[0].norm()).item() < 0.05


def test_autocast_ends_with_the_call() -> None:
    predict_noise(tiny.unet().to(torch.bfloat16), *tiny.inputs(1))
    assert not torch.is_autocast_enabled("cpu")
