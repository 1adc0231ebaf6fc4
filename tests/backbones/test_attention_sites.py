"""Hooks on the stock attention of diffusers: Eq. 7 beside cross-attention and joint attention."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest
import torch
from diffusers.models.attention_processor import (
    Attention,
    AttnProcessor,
    AttnProcessor2_0,
    IPAdapterAttnProcessor2_0,
    JointAttnProcessor2_0,
)
from tests import tiny
from torch import Tensor, nn

from ppd_lightning.backbones.attention_sites import attention_sites
from ppd_lightning.backbones.user_branch import UserBranch

WIDTH, HEADS, TEXT, EMBEDDING, TOKEN = 24, 3, 10, 6, 14
KINDS = ("cross", "joint", "joint with norms", "self")


@pytest.fixture(autouse=True)
def _nothing_compiled() -> Iterator[None]:
    torch._dynamo.reset()
    yield
    torch._dynamo.reset()


def attention(kind: str, seed: int = 0) -> Attention:
    settings = {"query_dim": WIDTH, "heads": HEADS, "dim_head": WIDTH // HEADS}
    if kind == "cross":
        settings |= {"cross_attention_dim": TEXT, "processor": AttnProcessor2_0()}
    elif kind == "self":
        settings |= {"bias": True, "processor": JointAttnProcessor2_0()}
    else:
        settings |= {"added_kv_proj_dim": TEXT, "context_pre_only": False, "bias": True, "out_dim": WIDTH}
        settings |= {"processor": JointAttnProcessor2_0(), "qk_norm": "rms_norm" if "norms" in kind else None}
    return tiny._made(lambda: Attention(**settings), seed)


def attached(stock: Attention, *, trained: bool = True) -> UserBranch:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(1)
        branch = UserBranch(attention_sites([stock]), TOKEN, EMBEDDING)
        if trained:
            nn.init.normal_(branch.blocks[0].to_v.weight)
    return branch


def image(kind: str) -> Callable[[Attention], Tensor]:
    """The forward of the image's rows."""
    generator = torch.Generator().manual_seed(2)
    x, words = torch.randn(2, 7, WIDTH, generator=generator), torch.randn(2, 5, TEXT, generator=generator)

    def run(stock: nn.Module) -> Tensor:
        found = stock(x) if kind == "self" else stock(x, words)
        return found[0] if isinstance(found, tuple) else found

    run.x = x  # type: ignore[attr-defined]
    return run


def part_of_user(stock: Attention, branch: UserBranch, x: Tensor, users: Tensor) -> Tensor:
    """softmax(Q K'^T / sqrt(D)) V' of every head, by hand, through the output projection without its bias."""
    tokens = branch.projection(users).view(len(users), 4, TOKEN)
    query = stock.to_q(x)
    parts = []
    for head in range(HEADS):
        columns = slice(head * WIDTH // HEADS, (head + 1) * WIDTH // HEADS)
        q = query[..., columns]
        if stock.norm_q is not None:
            q = q / (q.square().mean(-1, keepdim=True) + stock.norm_q.eps).sqrt() * stock.norm_q.weight
        k, v = (tokens @ weight.weight[columns].T for weight in (branch.blocks[0].to_k, branch.blocks[0].to_v))
        parts.append((q @ k.transpose(1, 2) / (WIDTH // HEADS) ** 0.5).softmax(-1) @ v)
    return torch.cat(parts, -1) @ stock.to_out[0].weight.T


@pytest.mark.parametrize("kind", KINDS)
def test_the_users_part_is_equation_7_and_off_is_the_stock_bit_for_bit(kind: str) -> None:
    stock, run, users = attention(kind), image(kind), tiny.users(2)
    before, names = run(stock), list(stock.state_dict())
    branch = attached(stock)
    assert torch.equal(run(stock), before)
    with branch.user(users), torch.no_grad():
        torch.testing.assert_close(run(stock), before + part_of_user(stock, branch, run.x, users), rtol=1e-5, atol=1e-5)
    with branch.user(torch.zeros_like(users)):
        assert torch.equal(run(stock), before)
    branch.detach()
    with branch.user(users):
        assert torch.equal(run(stock), before)
    assert list(stock.state_dict()) == names
    with attached(stock, trained=False).user(users):
        assert torch.equal(run(stock), before)


@pytest.mark.parametrize("kind", KINDS)
def test_it_compiles_without_a_break(kind: str) -> None:
    stock, run = attention(kind), image(kind)
    branch = attached(stock)
    compiled = torch.compile(stock, backend="eager", fullgraph=True)
    for seed in range(2):
        with branch.user(tiny.users(2, seed)):
            torch.testing.assert_close(run(compiled), run(stock))
        assert torch.equal(run(compiled), run(stock))


def test_another_processor_may_come_after_the_branch() -> None:
    stock, run, users = attention("cross"), image("cross"), tiny.users(2)
    branch = attached(stock)
    with branch.user(users):
        expected = run(stock)
        stock.set_processor(AttnProcessor())
        torch.testing.assert_close(run(stock), expected)


def test_an_ip_adapter_may_come_after_the_branch_and_both_are_added() -> None:
    stock, run, users = attention("cross"), image("cross"), tiny.users(2)
    branch, pictures = attached(stock), torch.randn(2, 1, 4, TEXT, generator=torch.Generator().manual_seed(3))
    words = torch.randn(2, 5, TEXT, generator=torch.Generator().manual_seed(4))
    plain = stock(run.x, words)
    with branch.user(users), torch.no_grad():
        expected = stock(run.x, words) - plain
        stock.set_processor(IPAdapterAttnProcessor2_0(WIDTH, TEXT, num_tokens=(4,), scale=0.7))
        both = stock(run.x, (words, [pictures]))
    with torch.no_grad():
        adapted = stock(run.x, (words, [pictures]))
    assert not torch.allclose(adapted, plain, atol=1e-3)
    torch.testing.assert_close(both - adapted, expected, rtol=1e-4, atol=1e-5)


def test_a_second_branch_and_a_network_without_attention_are_refused() -> None:
    stock = attention("cross")
    branch = attached(stock)
    with pytest.raises(ValueError, match="has a user branch already; detach"):
        attached(stock)
    branch.detach()
    attached(stock)
    with pytest.raises(ValueError, match="no attention for a user branch"):
        attention_sites([])


def test_fused_projections_are_refused_before_and_after() -> None:
    fused = attention("self")
    fused.fuse_projections()
    with pytest.raises(ValueError, match="unfuse_qkv_projections"):
        attention_sites([fused])
    crossed = attention("cross")
    crossed.fuse_projections()
    attached(crossed)  # its queries are a projection of their own


def test_a_lora_after_the_branch_is_refused_in_the_next_forward() -> None:
    stock, run = attention("cross"), image("cross")
    branch = attached(stock)
    stock.to_q = nn.Sequential(stock.to_q)
    run(stock)
    with pytest.raises(ValueError, match="changed after the user branch was attached"), branch.user(tiny.users(2)):
        run(stock)


def test_queries_that_are_normalised_across_heads_are_refused() -> None:
    stock = Attention(WIDTH, heads=HEADS, kv_heads=HEADS, dim_head=8, qk_norm="rms_norm_across_heads")
    with pytest.raises(ValueError, match="across heads"):
        attention_sites([stock])


@pytest.mark.parametrize(
    ("setting", "width", "kept"),
    [("network", 40, None), ("enough", 24, 24), (9, 9, 9), (40, 40, None)],
)
def test_a_user_token_is_as_wide_as_the_setting_says(setting: int | str, width: int, kept: int | None) -> None:
    branch = UserBranch(attention_sites([attention("cross")]), 40, EMBEDDING, token_width=setting)
    assert branch.tokens(tiny.users(2)).shape == (2, 4, width)
    assert branch.blocks[0].to_k.weight.shape == (WIDTH, width)
    assert branch.config.get("token_width") == kept


def test_enough_is_at_most_the_networks_own() -> None:
    branch = UserBranch(attention_sites([attention("cross")]), 20, EMBEDDING, token_width="enough")
    assert branch.tokens(tiny.users(1)).shape == (1, 4, 20)
    with pytest.raises(ValueError, match="token_width must be positive"):
        UserBranch([], 20, EMBEDDING, token_width=0)
