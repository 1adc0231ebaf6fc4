"""Stage C's own function in fewer operations: the same numbers up to rounding, for policy and reference alike.

The modules of a stock `StableCascadeUNet` get classes derived from their own, with another forward; weights, state dict
and what `isinstance` says stay as they are.

- GELU and the global response norm of a residual block are one function each way (`gelu_response`): on a GPU one
  compiled by torch.compile, on a CPU a few passes in place of `linalg_vector_norm`'s, which is slow there. Both compute
  in float32, where the stock norm rounds GELU's result in bf16 first.
- A 1x1 convolution and a bilinear resize commute, so the convolution sees the smaller of both sizes.

A result differs from the stock one by a few roundings of its own type (float32: 1e-6 of its size).

B = batch, H, W = positions, C = channels.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from functools import cache
from typing import Any

import torch
from diffusers import StableCascadeUNet
from diffusers.models.unets.unet_stable_cascade import SDCascadeResBlock, UpDownBlock2d
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.nn import functional as F

log = logging.getLogger(__name__)

TINY = 1e-30
"""Added to a sum of squares: nothing beside any channel that matters, and the root has a slope at 0."""

EPS = 1e-6
"""Of diffusers' `GlobalResponseNorm`."""

COMPILED_ON = {"cuda"}
"""Kinds of devices on which `gelu_response` is compiled; empty once that has failed in this process."""


def use_fast_arithmetic(network: StableCascadeUNet) -> None:
    """Give the blocks of a frozen network their fast forward, in place."""
    for module in network.modules():
        if type(module) in FAST:
            module.__class__ = FAST[type(module)]


def gelu_response(hidden: Tensor, gamma: Tensor, beta: Tensor) -> Tensor:
    """GELU, then the global response norm of ConvNeXt V2 (arXiv 2301.00808), as `SDCascadeResBlock` has them.

    x = GELU(hidden), n = |x| over the positions, y = gamma x n / (mean of n over channels + EPS) + beta + x.

    Args:
        hidden: (B, H, W, C) in float32, float64, or a shorter type, whose sums are made in float32.
        gamma: (1, 1, 1, C), frozen.
        beta: (1, 1, 1, C), frozen.

    Returns:
        y (B, H, W, C), rounded once to the type of `hidden`; where `hidden` is 0 its gradient is finite.

    Raises:
        ValueError: a gradient of gamma or beta is wanted.
    """
    if torch.is_grad_enabled() and (gamma.requires_grad or beta.requires_grad):
        raise ValueError("gelu_response is for frozen networks; one that is trained needs model.arithmetic=stock")
    result: Tensor = _GeluResponse.apply(hidden, gamma, beta)  # type: ignore[no-untyped-call]
    return result


class _GeluResponse(torch.autograd.Function):
    """Keeps `hidden` and the norms alone. Its forward is the same with and without gradients."""

    @staticmethod
    def forward(ctx: Any, hidden: Tensor, gamma: Tensor, beta: Tensor) -> Tensor:
        result: Tensor
        result, norms = _call(_respond, hidden.detach(), gamma.detach(), beta.detach())
        ctx.save_for_backward(hidden, norms, gamma)
        return result

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None, None]:
        of_hidden: Tensor = _call(_respond_back, gradient, *ctx.saved_tensors)
        return of_hidden, None, None


def _respond(hidden: Tensor, gamma: Tensor, beta: Tensor) -> tuple[Tensor, Tensor]:
    """y, and n (B, 1, 1, C)."""
    x = F.gelu(_wide(hidden))
    norms = (x.square().sum((1, 2), keepdim=True) + TINY).sqrt()
    scale = 1 + gamma.to(x) * (norms / (norms.mean(-1, keepdim=True) + EPS))
    return torch.addcmul(beta.to(x), x, scale).to(hidden), norms


def _respond_back(gradient: Tensor, hidden: Tensor, norms: Tensor, gamma: Tensor) -> Tensor:
    """The gradient of `hidden`, of y's."""
    wide, gradient = _wide(hidden), gradient.to(norms)
    x, size = F.gelu(wide), norms.mean(-1, keepdim=True) + EPS
    of_share = gamma.to(x) * (gradient * x).sum((1, 2), keepdim=True)  # the share is n / size
    of_norms = of_share / size - (of_share * norms).mean(-1, keepdim=True) / size.square()
    of_x = torch.addcmul(gradient * (1 + gamma.to(x) * (norms / size)), x, of_norms / norms)
    result: Tensor = torch.ops.aten.gelu_backward(of_x, wide)
    return result.to(hidden)


def _wide(values: Tensor) -> Tensor:
    return values if values.dtype == torch.float64 else values.float()


def _call(function: Callable[..., Any], *tensors: Tensor) -> Any:
    """The function, compiled on a GPU; as it is within a larger region that is compiled, or where no compiler works."""
    if tensors[0].device.type in COMPILED_ON and not torch.compiler.is_compiling():
        try:
            return _compiled(function)(*tensors)
        except torch.OutOfMemoryError:
            raise
        except Exception as error:  # no Triton, no C compiler, no folder to write to: torch raises many kinds
            COMPILED_ON.clear()
            log.warning("GELU and response norm are not fused, torch.compile fails: %s", str(error).split("\n")[0])
    return function(*tensors)


@cache
def _compiled(function: Callable[..., Any]) -> Callable[..., Any]:
    return torch.compile(function)


class _ResBlock(SDCascadeResBlock):  # type: ignore[misc]
    def forward(self, x: Tensor, x_skip: Tensor | None = None) -> Tensor:
        first, _, response, dropout, second = self.channelwise
        hidden = self.norm(self.depthwise(x))
        if x_skip is not None:
            hidden = torch.cat([hidden, x_skip], dim=1)
        hidden = gelu_response(first(hidden.permute(0, 2, 3, 1)), response.gamma, response.beta)
        result: Tensor = second(dropout(hidden)).permute(0, 3, 1, 2) + x
        return result


class _UpDownBlock(UpDownBlock2d):  # type: ignore[misc]
    def forward(self, x: Tensor) -> Tensor:
        for block in reversed(self.blocks):
            x = block(x)
        return x


FAST: dict[type, type] = {
    SDCascadeResBlock: _ResBlock,
    UpDownBlock2d: _UpDownBlock,
}
"""By diffusers' own class."""
