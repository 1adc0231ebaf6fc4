"""User cross-attention beside the attention of a frozen network (PPD, arXiv 2501.06655, Eq. 7).

B = batch, E = width of a user embedding, N = user tokens, C = width of a user token, H = heads, P = positions that
attend, D = width of a head, K = users that one is compared with.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Literal, cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

NULLS = ("zero", "learned")
TINY = 1e-6
"""A distance at which its gradient begins to fade: the root has none at 0."""

TokenWidth = int | Literal["network", "enough"]
"""C: the network's own width of a token, what suffices (N * E, at most the network's own), or a number."""


@dataclass(frozen=True)
class Site:
    """One attention of a network that can attend to the user too.

    inner_dim: H * D, the width of its queries.
    install: makes the attention ask a `UserAttention`, and returns what makes it the stock one again.
    """

    inner_dim: int
    install: Callable[[UserAttention], Callable[[], None]]


class UserBranch(nn.Module):
    """The only weights that are trained: u to N user tokens, and K', V' of every site.

    At each site softmax(Q K'^T / sqrt(D)) V' of every head is added to the stock attention's result, before its output
    projection. V' starts at zero, so a new branch changes nothing; the projection and K' do not, so it can learn.

    With `null="zero"` there is no bias: a zero embedding is exactly the base model. With `null="learned"` the
    projection has a bias, and a zero embedding stands for what people in general prefer.

    Args:
        sites: of a network with stock attention, in an order that follows from the network alone.
        token_dim: the network's own width of a token.
        embedding_dim: E.
        num_tokens: N; one token would leave K' without effect (softmax over one key is 1).
        null: "zero" or "learned".
        token_width: which C; with "enough" every token can have a subspace of its own in u, and a larger C adds weights
            but no function. `config` holds C where it is not the network's own: branches of old files have that.

    Raises:
        ValueError: `num_tokens`, `null` or `token_width` make no sense; the network stays as it is.
    """

    def __init__(
        self,
        sites: Sequence[Site],
        token_dim: int,
        embedding_dim: int,
        num_tokens: int = 4,
        null: str = "zero",
        token_width: TokenWidth = "network",
    ) -> None:
        super().__init__()
        if num_tokens < 2:
            raise ValueError(f"num_tokens must be at least 2, got {num_tokens}: with one token W'_k has no effect")
        if null not in NULLS:
            raise ValueError(f"null must be one of {', '.join(NULLS)}, got {null!r}")
        own = token_dim
        if token_width != "network":
            token_dim = min(num_tokens * embedding_dim, own) if token_width == "enough" else token_width
        if token_dim < 1:
            raise ValueError(f"token_width must be positive, got {token_width}")
        self.config: dict[str, Any] = {"embedding_dim": embedding_dim, "num_tokens": num_tokens, "null": null}
        if token_dim != own:
            self.config["token_width"] = token_dim
        self.projection = nn.Linear(embedding_dim, num_tokens * token_dim, bias=null == "learned")
        blocks = [_UserKeysValues(token_dim, site.inner_dim) for site in sites]
        self.blocks = nn.ModuleList(blocks)
        nn.init.normal_(self.projection.weight, std=embedding_dim**-0.5)
        if null == "learned":
            nn.init.normal_(self.projection.bias)
        self._tokens: Tensor | None = None
        self._restore = [
            site.install(UserAttention(self, keys_values)) for site, keys_values in zip(sites, blocks, strict=True)
        ]

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

    def distances(self, embeddings: Tensor, others: Tensor) -> Tensor:
        """How far apart what it makes of users is: the root mean square of the difference of their V', over all sites.

        Args:
            embeddings: (B, E).
            others: (B, K, E), K other users for each.

        Returns:
            (B, K) float32, 0 for a new branch; with a gradient there too, of 0.
        """
        weight = self.projection.weight  # a bias is the same for all
        tokens = F.linear(embeddings[:, None] - others, weight).unflatten(-1, (self.config["num_tokens"], -1))
        values = [cast("_UserKeysValues", block).to_v(tokens).float() for block in self.blocks]
        square = torch.stack([difference.square().mean((2, 3)) for difference in values]).mean(0)
        return (square + TINY**2).sqrt() - TINY

    def detach(self) -> None:
        """Give the network its stock attention back."""
        for restore in self._restore:
            restore()


class _UserKeysValues(nn.Module):
    """W'_k and W'_v of one site."""

    def __init__(self, token_dim: int, inner_dim: int) -> None:
        super().__init__()
        self.to_k = nn.Linear(token_dim, inner_dim, bias=False)
        self.to_v = nn.Linear(token_dim, inner_dim, bias=False)
        nn.init.normal_(self.to_k.weight, std=token_dim**-0.5)
        nn.init.zeros_(self.to_v.weight)


class UserAttention:
    """The attention of one site to the user tokens; None while the branch is off."""

    def __init__(self, branch: UserBranch, keys_values: _UserKeysValues) -> None:
        # Plain attributes of a plain object: neither the network's state nor its parameters see the branch.
        self.branch, self.keys_values = branch, keys_values

    @property
    def on(self) -> bool:
        """Whether a user is set."""
        return self.branch._tokens is not None

    def __call__(self, query: Tensor) -> Tensor:
        """softmax(Q K'^T / sqrt(D)) V' for queries (B, H, P, D), of the same shape.

        Raises:
            ValueError: the branch is off.
        """
        tokens, heads = self.branch._tokens, query.shape[1]
        if tokens is None:
            raise ValueError("the user branch is off: ask `on` first")

        def of_heads(states: Tensor) -> Tensor:  # (B, N, H*D) -> (B, H, N, D); fp32 even on a bf16 network
            return states.view(*states.shape[:2], heads, -1).transpose(1, 2).to(query)

        return F.scaled_dot_product_attention(
            query, of_heads(self.keys_values.to_k(tokens)), of_heads(self.keys_values.to_v(tokens))
        )
