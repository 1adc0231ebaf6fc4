"""User cross-attention beside the joint attention of a stock `StableCascadeUNet` (PPD, arXiv 2501.06655, Eq. 7).

B = batch, E = width of a user embedding, N = user tokens, C = conditioning width, H = heads, P = image tokens,
D = width of a head.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from diffusers import StableCascadeUNet
from diffusers.models.attention_processor import Attention, AttnProcessor2_0
from diffusers.models.unets.unet_stable_cascade import SDCascadeAttnBlock
from torch import Tensor, nn
from torch.nn import functional as F

NULLS = ("zero", "learned")


class UserBranch(nn.Module):
    """The only weights that are trained: u to N user tokens, and K', V' of every attention block.

    Stage C's attention is joint: keys and values are image and text tokens under one softmax. The branch adds, for each
    head, softmax(Q K'^T / sqrt(D)) V' to its result, before the shared output projection. V' starts at zero, so a new
    branch changes nothing; the projection and K' do not, so it can learn.

    With `null="zero"` there is no bias: a zero embedding is exactly the base model. With `null="learned"` the
    projection has a bias, and a zero embedding stands for what people in general prefer.

    Make one with `attach_user_branch`.
    """

    def __init__(
        self, attentions: list[Attention], conditioning_dim: int, embedding_dim: int, num_tokens: int, null: str
    ) -> None:
        super().__init__()
        if null not in NULLS:
            raise ValueError(f"null must be one of {', '.join(NULLS)}, got {null!r}")
        self.config: dict[str, Any] = {"embedding_dim": embedding_dim, "num_tokens": num_tokens, "null": null}
        self.projection = nn.Linear(embedding_dim, num_tokens * conditioning_dim, bias=null == "learned")
        blocks = [_UserKeysValues(conditioning_dim, attention.inner_dim) for attention in attentions]
        self.blocks = nn.ModuleList(blocks)
        nn.init.normal_(self.projection.weight, std=embedding_dim**-0.5)
        if null == "learned":
            nn.init.normal_(self.projection.bias)
        self._tokens: Tensor | None = None
        self._attentions = attentions  # a plain list: the network's modules stay out of this module's state
        self._stock = [attention.processor for attention in attentions]
        for attention, keys_values, stock in zip(attentions, blocks, self._stock, strict=True):
            attention.set_processor(_WithUser(self, keys_values, stock))

    @contextmanager
    def user(self, embeddings: Tensor) -> Iterator[None]:
        """Turn the branch on for a batch: forwards *and* their backward belong inside (checkpointing recomputes).

        Args:
            embeddings: (B, E), one user for each example.

        Raises:
            ValueError: the width is not E.
        """
        width = self.config["embedding_dim"]
        if embeddings.ndim != 2 or embeddings.shape[1] != width:
            raise ValueError(f"user embeddings must have shape (B, {width}), got {tuple(embeddings.shape)}")
        outside, self._tokens = self._tokens, self.tokens(embeddings)
        try:
            yield
        finally:
            self._tokens = outside

    def is_base(self, embeddings: Tensor) -> Tensor:
        """Which of the users (B, E) are the base model by construction, (B,) bool."""
        zero: Tensor = (embeddings == 0).all(1)
        return zero if self.config["null"] == "zero" else torch.zeros_like(zero)

    def tokens(self, embeddings: Tensor) -> Tensor:
        """User embeddings (B, E) to user tokens (B, N, C)."""
        projected: Tensor = self.projection(embeddings)
        return projected.view(len(embeddings), self.config["num_tokens"], -1)

    def detach(self) -> None:
        """Give the network its stock attention back."""
        for attention, stock in zip(self._attentions, self._stock, strict=True):
            attention.set_processor(stock)


class _UserKeysValues(nn.Module):
    """W'_k and W'_v of one attention block."""

    def __init__(self, conditioning_dim: int, inner_dim: int) -> None:
        super().__init__()
        self.to_k = nn.Linear(conditioning_dim, inner_dim, bias=False)
        self.to_v = nn.Linear(conditioning_dim, inner_dim, bias=False)
        nn.init.normal_(self.to_k.weight, std=conditioning_dim**-0.5)
        nn.init.zeros_(self.to_v.weight)


class _WithUser:
    """The attention processor: the stock one while no user is set, else Eq. 7 in joint attention.

    The stock path is diffusers' `AttnProcessor2_0`; the call on it when the branch is off keeps it bit for bit.
    """

    def __init__(self, branch: UserBranch, keys_values: _UserKeysValues, stock: Any) -> None:
        # Plain attributes of a plain object: neither the network's state nor its parameters see the branch.
        self.branch, self.keys_values, self.stock = branch, keys_values, stock

    def __call__(
        self, attn: Attention, hidden_states: Tensor, encoder_hidden_states: Tensor, attention_mask: None = None
    ) -> Tensor:  # Attention hands on a mask; Stage C has none
        tokens = self.branch._tokens
        if tokens is None:
            stock: Tensor = self.stock(attn, hidden_states, encoder_hidden_states=encoder_hidden_states)
            return stock

        def heads(states: Tensor) -> Tensor:  # (B, length, H*D) -> (B, H, length, D)
            return states.view(*states.shape[:2], attn.heads, -1).transpose(1, 2)

        image = hidden_states.flatten(2).transpose(1, 2)  # (B, P, H*D)
        query = heads(attn.to_q(image))
        joint = F.scaled_dot_product_attention(
            query, heads(attn.to_k(encoder_hidden_states)), heads(attn.to_v(encoder_hidden_states))
        )
        user_keys, user_values = self.keys_values.to_k(tokens), self.keys_values.to_v(tokens)
        # The branch may be fp32 on a bf16 network.
        user = F.scaled_dot_product_attention(query, heads(user_keys).to(query), heads(user_values).to(query))
        mixed = (joint + user).transpose(1, 2).flatten(2)
        out: Tensor = attn.to_out[1](attn.to_out[0](mixed))
        return out.transpose(1, 2).reshape(hidden_states.shape)


def attach_user_branch(
    unet: StableCascadeUNet, embedding_dim: int, *, num_tokens: int = 4, null: str = "zero"
) -> UserBranch:
    """Put a new user branch on a stock network; the network's own weights and state dict stay as they are.

    Args:
        unet: a `StableCascadeUNet` with diffusers' default attention.
        embedding_dim: E.
        num_tokens: N; one token would leave W'_k without effect (softmax over one key is 1).
        null: "zero" or "learned", see `UserBranch`.

    Raises:
        ValueError: the network has a branch already, no attention, or attention of another kind.
    """
    attentions = [block.attention for block in unet.modules() if isinstance(block, SDCascadeAttnBlock)]
    kinds = {type(attention.processor) for attention in attentions}
    if kinds != {AttnProcessor2_0}:
        names = ", ".join(sorted(kind.__name__ for kind in kinds)) or "none"
        raise ValueError(f"a network with stock attention (AttnProcessor2_0) is needed, found {names}; detach() first")
    if num_tokens < 2:
        raise ValueError(f"num_tokens must be at least 2, got {num_tokens}: with one token W'_k has no effect")
    parameter = next(unet.parameters())
    branch = UserBranch(attentions, unet.config.conditioning_dim, embedding_dim, num_tokens, null)
    return branch.to(device=parameter.device)
