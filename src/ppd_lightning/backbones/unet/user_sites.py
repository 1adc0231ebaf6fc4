"""The user branch on Stable Diffusion's UNet: beside the cross-attention to the text of every transformer block.

`ppd export` carries this.
"""

from __future__ import annotations

from diffusers import UNet2DConditionModel
from diffusers.models.attention import BasicTransformerBlock

from ppd_lightning.backbones.attention_sites import attention_sites
from ppd_lightning.backbones.user_branch import TokenWidth, UserBranch


def attach_user_branch(
    unet: UNet2DConditionModel,
    embedding_dim: int,
    *,
    num_tokens: int = 4,
    null: str = "zero",
    token_width: TokenWidth = "network",
) -> UserBranch:
    """Put a new user branch on a network; its own weights and state dict stay as they are.

    The network's own width of a token is that of its text states. Arguments as of `UserBranch`.

    Raises:
        ValueError: the network has a branch already, or the settings make no sense.
    """
    blocks = (block for block in unet.modules() if isinstance(block, BasicTransformerBlock))
    sites = attention_sites(block.attn2 for block in blocks if block.attn2 is not None)
    branch = UserBranch(sites, unet.config.cross_attention_dim, embedding_dim, num_tokens, null, token_width)
    return branch.to(device=next(unet.parameters()).device)
