"""Fast arithmetic is the stock network up to rounding, forward and backward, and alike for policy and reference."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any

import pytest
import torch
from diffusers import StableCascadeUNet
from diffusers.models.unets.unet_stable_cascade import GlobalResponseNorm
from tests import tiny
from torch import Tensor, nn

from ppd_lightning.backbones.cascade import arithmetic
from ppd_lightning.backbones.cascade.arithmetic import gelu_response, use_fast_arithmetic
from ppd_lightning.backbones.cascade.prior import predict_noise
from ppd_lightning.diffusion.weighting import TimeWeight
from ppd_lightning.training.module import PPDModule

SHAPE = (3, 4, 5, 24)


def normal(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def stock_in_float64(hidden: Tensor, gamma: Tensor, beta: Tensor) -> Tensor:
    """GELU and diffusers' norm."""
    response = GlobalResponseNorm(hidden.shape[-1]).double().requires_grad_(False)
    response.gamma.copy_(gamma)
    response.beta.copy_(beta)
    result: Tensor = response(nn.functional.gelu(hidden.double()))
    return result


def both_ways(function: Callable[..., Tensor], hidden: Tensor, *more: Tensor) -> tuple[Tensor, Tensor]:
    """The result, and the gradient of `hidden`."""
    leaf = hidden.clone().requires_grad_()
    result = function(leaf, *more)
    (gradient,) = torch.autograd.grad(result, leaf, normal(*SHAPE, seed=3).bfloat16().to(result))
    return result.detach(), gradient


def weights() -> tuple[Tensor, Tensor]:
    return normal(1, 1, 1, SHAPE[-1], seed=1), normal(1, 1, 1, SHAPE[-1], seed=2)


@pytest.mark.parametrize(
    ("dtype", "tolerance"), [(torch.float64, 1e-12), (torch.float32, 2e-6), (torch.bfloat16, 8e-3)], ids=str
)
def test_gelu_and_response_norm_are_those_of_the_stock_network_in_float64(dtype: torch.dtype, tolerance: float) -> None:
    hidden, more = normal(*SHAPE).to(dtype), [weight.to(dtype) for weight in weights()]
    expected = both_ways(stock_in_float64, hidden.double(), *(weight.double() for weight in more))
    for found, wanted in zip(both_ways(gelu_response, hidden, *more), expected, strict=True):
        assert found.dtype == dtype
        assert ((found - wanted).abs() <= tolerance * wanted.abs().clamp(min=0.5)).all()


def test_its_gradient_is_the_one_of_finite_differences() -> None:
    hidden, more = normal(*SHAPE)[:1, :2, :2, :5].requires_grad_(), [weight[..., :5] for weight in weights()]
    assert torch.autograd.gradcheck(lambda hidden: gelu_response(hidden, *more), hidden)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
@pytest.mark.parametrize("part", ["everything", "a channel", "an example"])
def test_zeros_give_the_stock_result_and_a_finite_gradient(part: str, dtype: torch.dtype) -> None:
    hidden = normal(*SHAPE).to(dtype)
    hidden[{"everything": ..., "a channel": (..., 2), "an example": 1}[part]] = 0  # type: ignore[index]
    more = [weight.to(dtype) for weight in weights()]
    result, gradient = both_ways(gelu_response, hidden, *more)
    expected, wanted = both_ways(stock_in_float64, hidden.double(), *(weight.double() for weight in more))
    assert gradient.isfinite().all()
    torch.testing.assert_close(result.double(), expected, atol=1e-2 if dtype == torch.bfloat16 else 1e-5, rtol=1e-2)
    torch.testing.assert_close(gradient.double(), wanted, atol=2e-2 if dtype == torch.bfloat16 else 1e-5, rtol=1e-2)


def test_a_network_that_is_trained_is_refused() -> None:
    gamma, beta = weights()
    with pytest.raises(ValueError, match=r"model\.arithmetic=stock"):
        gelu_response(normal(*SHAPE), gamma.requires_grad_(), beta)


def made(fast: bool, dtype: torch.dtype = torch.float32, **changes: Any) -> StableCascadeUNet:
    network = tiny.unet(**changes).to(dtype)
    if fast:
        use_fast_arithmetic(network)
    return network


@pytest.mark.parametrize("resized", [False, True])
@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float32, 2e-6), (torch.bfloat16, 0.02)], ids=str)
def test_a_network_predicts_the_same_up_to_rounding(dtype: torch.dtype, tolerance: float, resized: bool) -> None:
    stock, fast = (made(fast, dtype, switch_level=(resized,)) for fast in (False, True))
    assert {name: value.tolist() for name, value in stock.state_dict().items()} == {
        name: value.tolist() for name, value in fast.state_dict().items()
    }
    with torch.no_grad():
        expected, found = (predict_noise(network, *tiny.inputs(3)) for network in (stock, fast))
    assert ((found - expected).norm() / expected.norm()).item() < tolerance


def test_the_setting_decides_and_stock_is_diffusers_own_to_the_bit() -> None:
    backbones = [tiny.backbone(arithmetic=way) for way in ("stock", "fast")]
    stock, fast = (backbone.load_network() for backbone in backbones)
    kinds = [{type(module).__module__ for module in network.modules()} for network in (stock, fast)]
    assert [arithmetic.__name__ in modules for modules in kinds] == [False, True]
    assert backbones[0].prediction_settings() != backbones[1].prediction_settings()


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
def test_a_new_branch_changes_nothing_to_the_bit_also_with_gradients(dtype: torch.dtype) -> None:
    network, inputs = made(True, dtype), tiny.inputs(3)
    branch = tiny.branch(network, trained=False)
    with torch.no_grad():
        reference = predict_noise(network, *inputs)
    with branch.user(tiny.users(3)):
        policy = predict_noise(network, *inputs)
    assert policy.requires_grad
    assert torch.equal(policy, reference)


def losses(network: StableCascadeUNet, steps: int) -> list[float]:
    """Of a training on a few batches, in turn."""
    backbone, objective = tiny.backbone(), tiny.objective()
    module = PPDModule(
        backbone,
        network,
        tiny.branch(network, trained=False),
        objective,
        tiny.optimizer(lr=3e-3),
        TimeWeight("const", backbone.diffusion_path, objective.t_min, objective.t_max),
        latent_shape=tiny.LATENT,
        max_steps=steps,
        seed=0,
    )
    module.log_dict = lambda *args, **kwargs: None
    optimizer, found = module.configure_optimizers()["optimizer"], []
    for step in range(steps):
        optimizer.zero_grad()
        loss = module.training_step(tiny.batch(4, seed=step % 5), step)
        loss.backward()
        module.on_after_backward()
        optimizer.step()
        found.append(loss.item())
    return found


@pytest.mark.long
def test_the_losses_of_a_hundred_steps_are_the_stock_networks_to_a_ten_thousandth() -> None:
    stock, fast = losses(made(False), 100), losses(made(True), 100)
    assert min(stock) < 0.5 * stock[0]  # it learns
    assert max(abs(one - other) for one, other in zip(stock, fast, strict=True)) < 1e-4


def test_a_compiler_that_fails_is_named_once_and_the_result_is_the_same(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def fails(*tensors: Tensor) -> Any:
        raise RuntimeError("no C compiler\nmore")

    monkeypatch.setattr(arithmetic, "COMPILED_ON", {"cpu"})
    monkeypatch.setattr(arithmetic, "_compiled", lambda function: fails)
    expected = both_ways(stock_in_float64, normal(*SHAPE), *weights())
    with caplog.at_level(logging.WARNING):
        found = both_ways(gelu_response, normal(*SHAPE), *weights())
    for one, other in zip(found, expected, strict=True):
        torch.testing.assert_close(one, other)
    assert [record.getMessage() for record in caplog.records] == [
        "GELU and response norm are not fused, torch.compile fails: no C compiler"
    ]


@pytest.mark.long
def test_the_compiled_function_is_the_same_in_bf16_and_for_every_batch(monkeypatch: pytest.MonkeyPatch) -> None:
    """By inductor on the CPU, as a GPU has it."""
    monkeypatch.setattr(arithmetic, "COMPILED_ON", {"cpu"})
    for count in (3, 2, 3):
        hidden, more = normal(*SHAPE).bfloat16()[:count], [weight.bfloat16() for weight in weights()]
        leaf = hidden.clone().requires_grad_()
        result = gelu_response(leaf, *more)
        with torch.no_grad():
            assert torch.equal(gelu_response(leaf, *more), result)
        (gradient,) = torch.autograd.grad(result, leaf, torch.ones_like(result))
        wide = hidden.double().requires_grad_()
        expected = stock_in_float64(wide, *(weight.double() for weight in more))
        (wanted,) = torch.autograd.grad(expected, wide, torch.ones_like(expected))
        torch.testing.assert_close(result.double(), expected, atol=8e-3, rtol=8e-3)
        torch.testing.assert_close(gradient.double(), wanted, atol=8e-3, rtol=8e-3)
    assert {"cpu"} == arithmetic.COMPILED_ON
