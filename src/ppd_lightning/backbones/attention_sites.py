"""Sites of the user branch at any stock attention of diffusers, by hooks.

No line of the stock attention is written anew. The queries are what `to_q` gave, normalised per head where the
attention does so; the user's part is added to what goes into the output projection. So it meets the image tokens only
where `to_q` sees these alone (cross-attention, joint attention of SD 3), and whatever the block does with the
attention's result is done with the user's part too.
`ppd export` carries this file. B = batch, H = heads, P = positions that attend, D = width of a head.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from diffusers.models.attention_processor import Attention
from torch import Tensor, nn
from torch.nn import functional as F

from ppd_lightning.backbones.user_branch import Site, UserAttention


def attention_sites(attentions: Iterable[Attention]) -> list[Site]:
    """A site for each of these attentions, in their order.

    Once a branch is on them, other processors (attention backends, IP adapters) work as long as they call `to_q` and
    `to_out[0]`. What goes around them (`fuse_qkv_projections` of a joint attention) or puts other modules in their
    places (a LoRA) is refused in the next forward with a user.

    Raises:
        ValueError: there are none, they have a branch already, or queries that no hook can see.
    """
    found = list(attentions)
    if not found:
        raise ValueError("this network has no attention for a user branch; is it of another family?")
    for attention in found:
        if any(isinstance(getattr(hook, "__self__", None), _Hooks) for hook in attention.to_q._forward_hooks.values()):
            raise ValueError("this network has a user branch already; detach() it first")
        if attention.fused_projections and hasattr(attention, "to_qkv"):
            raise ValueError("the projections of this network are fused; call unfuse_qkv_projections() first")
        weight = getattr(attention.norm_q, "weight", None)
        if weight is not None and len(weight) != attention.inner_dim // attention.heads:
            raise ValueError("queries that are normalised across heads are not supported")
    return [_site(attention) for attention in found]


def _site(attention: Attention) -> Site:
    def install(user: UserAttention) -> Callable[[], None]:
        return _Hooks(attention, user).remove

    return Site(attention.inner_dim, install)


class _Hooks:
    """The two hooks of one site, and the query between them."""

    def __init__(self, attention: Attention, user: UserAttention) -> None:
        self.attention, self.user = attention, user
        self.to_q, self.to_out = attention.to_q, attention.to_out[0]
        self.query: Tensor | None = None
        self.handles = (
            self.to_q.register_forward_hook(self.keep),
            self.to_out.register_forward_pre_hook(self.add),
        )

    def keep(self, module: nn.Module, args: tuple[Any, ...], query: Tensor) -> None:
        """Keep the queries (B, P, H D) of the forward that runs."""
        if self.user.on:
            self.query = query

    def add(self, module: nn.Module, args: tuple[Any, ...]) -> tuple[Any, ...] | None:
        """Add the user's part to what the output projection gets (B, P, H D).

        Raises:
            ValueError: the network was changed since the branch was attached.
        """
        if not self.user.on:
            return None
        query, self.query = self.query, None
        if query is None or self.attention.to_q is not self.to_q or self.attention.to_out[0] is not self.to_out:
            raise ValueError(
                "this attention was changed after the user branch was attached (fused projections, a LoRA); "
                "undo that, or detach() the branch and attach it to the changed network"
            )
        queries = query.unflatten(-1, (self.attention.heads, -1)).transpose(1, 2)
        if self.attention.norm_q is not None:
            queries = self.attention.norm_q(queries)
        mixed, *others = args
        return (_laid_out_as(mixed, mixed + self.user(queries).transpose(1, 2).flatten(2)), *others)

    def remove(self) -> None:
        """Make the attention the stock one again."""
        for handle in self.handles:
            handle.remove()


def _laid_out_as(before: Tensor, after: Tensor) -> Tensor:
    """The values of `after`, in memory as `before` lies: whole, or as a part of more positions.

    A projection of a part rounds its bias apart, which in bf16 would be enough to tell a new branch from none. In joint
    attention the image's positions are such a part.
    """
    return after if before.is_contiguous() else F.pad(after, (0, 0, 0, 1))[:, :-1]
