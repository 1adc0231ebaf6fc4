from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from ppd_lightning.diffusion.losses import implicit_accuracy, loss_coefficient, prediction_error, preference_loss

D = 16 * 24 * 24


@pytest.mark.parametrize(
    ("reduction", "timesteps_weight", "low", "high"),
    [
        ("sum", 0.5, 460.8, 9216),
        ("sum", 1.0, 921.6, 18432),
        ("mean", 1000.0, 100, 2000),
        ("mean", 500.0, 50, 1000),
        ("sum", 1000.0, 921_600, 18_432_000),
        ("mean", 1.0, 0.1, 2),
    ],
)
def test_coefficient_of_each_convention_at_the_papers_betas(
    reduction: str, timesteps_weight: float, low: float, high: float
) -> None:
    at = [loss_coefficient(beta, D, reduction=reduction, timesteps_weight=timesteps_weight) for beta in (0.1, 2)]
    assert at == pytest.approx([low, high], rel=1e-12)


def test_coefficient_of_stage_c_is_half_of_its_9216_dimensions_by_default() -> None:
    assert loss_coefficient(1.0, D) == 4608.0


@pytest.mark.parametrize(
    ("arguments", "options", "message"),
    [
        ((0.0, D), {}, "beta"),
        ((-1.0, D), {}, "beta"),
        ((1.0, 0), {}, "dims"),
        ((1.0, D), {"timesteps_weight": 0.0}, "timesteps_weight"),
        ((1.0, D), {"reduction": "max"}, "'max'"),
    ],
)
def test_coefficient_refuses_what_has_no_meaning(
    arguments: tuple[float, int], options: dict[str, object], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        loss_coefficient(*arguments, **options)


@given(
    errors=st.lists(st.lists(st.floats(0.001, 3), min_size=4, max_size=4), min_size=1, max_size=6),
    beta=st.floats(0.01, 5),
    dims=st.integers(1, 20),
)
def test_loss_is_the_closed_form_of_equation_6(errors: list[list[float]], beta: float, dims: int) -> None:
    """Against sums of squares in float64 with T * w = 1/2, as the equation is written."""
    policy_w, policy_l, reference_w, reference_l = np.array(errors, dtype=np.float64).T * dims
    delta = (policy_w - reference_w) - (policy_l - reference_l)
    expected = np.log1p(np.exp(beta / 2 * delta))

    means = torch.tensor(errors, dtype=torch.float64).T
    loss, logits = preference_loss(*means, loss_coefficient(beta, dims))

    np.testing.assert_allclose(loss.numpy(), expected, rtol=1e-9, atol=1e-12)
    np.testing.assert_allclose(logits.numpy(), -beta / 2 * delta, rtol=1e-9, atol=1e-9)


def test_loss_from_noise_predictions_is_the_closed_form() -> None:
    """From the latents on, in float32 against float64."""
    generator = np.random.default_rng(0)
    noise, policy, reference = generator.normal(size=(3, 2, 5, 16, 3, 3))
    policy, reference = noise + 0.3 * policy, noise + 0.3 * reference
    squares = [((prediction - noise) ** 2).sum(axis=(2, 3, 4)) for prediction in (policy, reference)]
    delta = (squares[0][0] - squares[1][0]) - (squares[0][1] - squares[1][1])
    expected = -np.log(1 / (1 + np.exp(0.2 * delta)))

    tensors = [torch.from_numpy(array.astype(np.float32)) for array in (policy, reference, noise)]
    (policy_w, policy_l), (reference_w, reference_l) = (
        [prediction_error(prediction[side], tensors[2][side]) for side in range(2)] for prediction in tensors[:2]
    )
    loss, _ = preference_loss(
        policy_w, policy_l, reference_w, reference_l, loss_coefficient(0.2, 16 * 9, timesteps_weight=1.0)
    )

    np.testing.assert_allclose(loss.numpy(), expected, rtol=1e-4)


def test_loss_is_ln_2_where_policy_and_reference_agree() -> None:
    errors = torch.rand(2, 7)
    loss, logits = preference_loss(errors[0], errors[1], errors[0], errors[1], 9216.0)
    torch.testing.assert_close(loss, torch.full((7,), math.log(2)), atol=1e-7, rtol=0)
    assert torch.equal(logits, torch.zeros(7))


def test_loss_stays_finite_at_huge_coefficients_and_its_gradient_too() -> None:
    errors = torch.tensor([[0.1, 1.0], [1.0, 0.1]], requires_grad=True)
    loss, _ = preference_loss(errors[0], errors[1], torch.ones(2), torch.ones(2), 1e6)
    loss.sum().backward()
    assert loss.isfinite().all()
    assert errors.grad is not None
    assert errors.grad.isfinite().all()


def test_each_example_may_have_its_own_coefficient() -> None:
    errors = torch.rand(4, 3, dtype=torch.float64)
    weights = torch.tensor([0.5, 3.0, 40.0], dtype=torch.float64)
    together, _ = preference_loss(*errors, weights)
    alone = [preference_loss(*errors[:, [i]], float(weights[i]))[0] for i in range(3)]
    torch.testing.assert_close(together, torch.cat(alone))


def test_prediction_errors_of_bf16_predictions_are_taken_in_fp32() -> None:
    noise = torch.randn(3, 16, 4, 4)
    predicted = (noise + 0.1).bfloat16()
    error = prediction_error(predicted, noise)
    assert error.dtype == torch.float32
    expected = ((predicted.double() - noise.double()) ** 2).mean((1, 2, 3))
    torch.testing.assert_close(error.double(), expected, rtol=1e-5, atol=0)


def test_ties_count_one_half() -> None:
    logits = torch.tensor([2.0, 0.0, -0.1, -0.0])
    assert implicit_accuracy(logits).tolist() == [1.0, 0.5, 0.0, 0.5]
