"""The user branch on a transformer of Stable Diffusion 3's kind: beside the image's part of its joint attention."""

from __future__ import annotations

from typing import Any

from diffusers import SD3Transformer2DModel

from ppd_lightning.backbones.attention_sites import attention_sites
from ppd_lightning.backbones.user_branch import UserBranch


def attach_user_branch(
    transformer: SD3Transformer2DModel, embedding_dim: int, *, dual: bool = False, **settings: Any
) -> UserBranch:
    """Put a new user branch on a stock network; the network's own weights and state dict stay as they are.

    The image's queries of each block attend to the user; the result goes through the block's projection and gate with
    that of the joint attention. The network's own width of a token is its inner one.

    Args:
        transformer: with diffusers' attention.
        embedding_dim: width of a user embedding.
        dual: the image's second attention, to itself alone, attends to the user too in the blocks that have one.
        settings: num_tokens, null and token_width of `UserBranch`.

    Raises:
        ValueError: the network has a branch already, or the settings make no sense.
    """
    attentions = [block.attn for block in transformer.transformer_blocks]
    if dual:
        attentions += [block.attn2 for block in transformer.transformer_blocks if block.attn2 is not None]
    branch = UserBranch(attention_sites(attentions), transformer.inner_dim, embedding_dim, **settings)
    return branch.to(device=next(transformer.parameters()).device)
