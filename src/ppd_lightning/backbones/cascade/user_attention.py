"""The user branch on Stage C: beside the joint attention of diffusers' stock `StableCascadeUNet`.

B = batch, H = heads, P = image tokens, D = width of a head.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from diffusers import StableCascadeUNet
from diffusers.models.attention_processor import Attention, AttnProcessor2_0
from diffusers.models.unets.unet_stable_cascade import SDCascadeAttnBlock
from torch import Tensor
from torch.nn import functional as F

from ppd_lightning.backbones.user_branch import Site, TokenWidth, UserAttention, UserBranch


def attach_user_branch(
    unet: StableCascadeUNet,
    embedding_dim: int,
    *,
    num_tokens: int = 4,
    null: str = "zero",
    token_width: TokenWidth = "network",
) -> UserBranch:
    """Put a new user branch on a stock network; the network's own weights and state dict stay as they are.

    The network's own width of a token is that of its conditioning.

    Args:
        unet: a `StableCascadeUNet` with diffusers' default attention.
        embedding_dim: width of a user embedding.
        num_tokens: user tokens, at least 2.
        null: "zero" or "learned", see `UserBranch`.
        token_width: of a user token, see `UserBranch`.

    Raises:
        ValueError: the network has a branch already, no attention, or attention of another kind.
    """
    attentions = [block.attention for block in unet.modules() if isinstance(block, SDCascadeAttnBlock)]
    kinds = {type(attention.processor) for attention in attentions}
    if kinds != {AttnProcessor2_0}:
        names = ", ".join(sorted(kind.__name__ for kind in kinds)) or "none"
        raise ValueError(f"a network with stock attention (AttnProcessor2_0) is needed, found {names}; detach() first")
    sites = [_site(attention) for attention in attentions]
    branch = UserBranch(sites, unet.config.conditioning_dim, embedding_dim, num_tokens, null, token_width)
    return branch.to(device=next(unet.parameters()).device)


def _site(attention: Attention) -> Site:
    def install(user: UserAttention) -> Callable[[], None]:
        stock = attention.processor
        attention.set_processor(_WithUser(user, stock))
        return lambda: attention.set_processor(stock)

    return Site(attention.inner_dim, install)


class _WithUser:
    """The attention processor: the stock one while no user is set, else Eq. 7 in joint attention.

    Stage C's attention is joint: keys and values are image and text tokens under one softmax. The stock path is
    diffusers' `AttnProcessor2_0`; the call on it when the branch is off keeps it bit for bit.
    """

    def __init__(self, user: UserAttention, stock: Any) -> None:
        self.user, self.stock = user, stock

    def __call__(
        self, attn: Attention, hidden_states: Tensor, encoder_hidden_states: Tensor, attention_mask: None = None
    ) -> Tensor:  # Attention hands on a mask; Stage C has none
        if not self.user.on:
            stock: Tensor = self.stock(attn, hidden_states, encoder_hidden_states=encoder_hidden_states)
            return stock

        def heads(states: Tensor) -> Tensor:  # (B, length, H*D) -> (B, H, length, D)
            return states.view(*states.shape[:2], attn.heads, -1).transpose(1, 2)

        image = hidden_states.flatten(2).transpose(1, 2)  # (B, P, H*D)
        query = heads(attn.to_q(image))
        joint = F.scaled_dot_product_attention(
            query, heads(attn.to_k(encoder_hidden_states)), heads(attn.to_v(encoder_hidden_states))
        )
        mixed = (joint + self.user(query)).transpose(1, 2).flatten(2)
        out: Tensor = attn.to_out[1](attn.to_out[0](mixed))
        return out.transpose(1, 2).reshape(hidden_states.shape)
