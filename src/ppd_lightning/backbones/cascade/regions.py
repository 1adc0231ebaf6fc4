"""Stage C compiled block by block by torch.compile: blocks of a kind and shape share their graphs.

A graph is made for each kind of block and width, and for attention with and without a user. The batch is a free
dimension of it, so users that are dropped compile nothing anew. The reference, which needs no gradients, takes the
graphs of the policy, which has them: the compiler rounds graphs without gradients otherwise, and a new branch would not
give ln 2. That costs writing what a backward would read, of one block at a time.

B = batch.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from typing import Any

import torch
from diffusers import StableCascadeUNet
from diffusers.models.attention_processor import Attention
from diffusers.models.unets.unet_stable_cascade import SDCascadeAttnBlock, SDCascadeResBlock, SDCascadeTimestepBlock
from torch import Tensor, nn

log = logging.getLogger(__name__)

BLOCKS = (SDCascadeResBlock, SDCascadeTimestepBlock, SDCascadeAttnBlock)

GRAPHS = 64
"""Most graphs of one function; the default of 8 is less than the kinds of blocks, and what is above runs uncompiled."""


def compile_blocks(network: StableCascadeUNet, **options: Any) -> None:
    """Compile every block when it is first called, in place; weights, state dict and the branch stay as they are.

    Args:
        network: frozen, with or without a user branch.
        options: of `torch.compile`.
    """
    config = torch._dynamo.config
    config.recompile_limit = max(config.recompile_limit, GRAPHS)
    config.optimize_ddp = False  # it would cut graphs of several processes' training, which round otherwise then
    for module in network.modules():
        if type(module) is Attention:
            module.__class__ = _Attention
        if isinstance(module, BLOCKS):
            module.compile(**options)
            module._compiled_call_impl = _entry(module, module._compiled_call_impl)


def _entry(block: nn.Module, compiled: Callable[..., Tensor]) -> Callable[..., Tensor]:
    """Calls the block with (B, ...) tensors whose first dimension is free, and logs what compiling took."""
    from torch._dynamo.utils import counters

    def call(*parts: Tensor | None) -> Tensor:
        user = getattr(block.attention.processor, "user", None) if isinstance(block, SDCascadeAttnBlock) else None
        tokens = user.branch._tokens if user is not None else None
        wanted = torch.is_grad_enabled() and any(part is not None and part.requires_grad for part in (*parts, tokens))
        own = len(parts) if isinstance(block, SDCascadeResBlock) else 1  # those that can come from trained weights
        inputs = (*(_with_gradient(part) for part in parts[:own]), *parts[own:])
        for part in (*inputs, tokens):
            if part is not None and len(part) > 1:  # a batch of one has graphs of its own
                torch._dynamo.maybe_mark_dynamic(part, 0)
        graphs, begun = counters["stats"]["unique_graphs"], time.monotonic()
        with torch.enable_grad():
            result = compiled(*inputs)
        if counters["stats"]["unique_graphs"] > graphs:
            log.info("compiled %s in %.1f s", type(block).__name__.lstrip("_"), time.monotonic() - begun)
        return result if wanted else result.detach()

    return call


def _with_gradient(part: Tensor | None) -> Tensor | None:
    return part if part is None or part.requires_grad else part.detach().requires_grad_()


class _Attention(Attention):  # type: ignore[misc]
    """Without the stock `inspect.signature(self.processor.__call__)`, which would make a graph for each block."""

    def forward(self, hidden_states: Tensor, encoder_hidden_states: Tensor) -> Tensor:
        result: Tensor = self.processor(self, hidden_states, encoder_hidden_states=encoder_hidden_states)
        return result
