"""A compiled prior is the same network for every user, with no break in its graph, and is compiled only a few times."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from diffusers import StableCascadeUNet
from tests import tiny
from torch import Tensor
from torch._dynamo.utils import counters
from torch.nn.parallel import DistributedDataParallel

from ppd_lightning.backbones.cascade.arithmetic import use_fast_arithmetic
from ppd_lightning.backbones.cascade.prior import predict_noise
from ppd_lightning.backbones.cascade.regions import compile_blocks
from ppd_lightning.backbones.user_branch import UserBranch

# One block of each kind on the way down and one on the way up: what is traced grows with the blocks.
LAYERS = {"down_num_layers_per_block": (0, 1), "up_num_layers_per_block": (1, 0)}


@pytest.fixture(autouse=True)
def _nothing_compiled() -> Iterator[None]:
    torch._dynamo.reset()
    counters.clear()
    with torch._dynamo.config.patch(fail_on_recompile_limit_hit=True, optimize_ddp=True):
        yield
    torch._dynamo.reset()


def made(*, checkpointing: bool = False, dtype: torch.dtype = torch.float32) -> tuple[StableCascadeUNet, UserBranch]:
    prior = tiny.unet(**LAYERS).to(dtype)
    if checkpointing:
        prior.enable_gradient_checkpointing()
    return prior, tiny.branch(prior)


def passes(prior: StableCascadeUNet, branch: UserBranch, count: int, seed: int) -> list[Tensor]:
    """The reference, the policy, and the gradient of every weight of the branch, as a training step has them."""
    inputs = tiny.inputs(count, seed)
    with torch.no_grad():
        reference = predict_noise(prior, *inputs)
    branch.zero_grad()
    with branch.user(tiny.users(count, seed)):
        policy = predict_noise(prior, *inputs)
        policy.square().mean().backward()
    return [reference, policy.detach(), *[weight.grad.clone() for weight in branch.parameters()]]


def alike(found: list[Tensor], expected: list[Tensor], tolerance: float) -> None:
    assert (expected[0] - expected[1]).norm() > 0.05 * expected[0].norm()  # the user matters
    for ours, theirs in zip(found, expected, strict=True):
        assert ((ours - theirs).norm() / theirs.norm()).item() < tolerance


@pytest.mark.parametrize(
    ("checkpointing", "dtype"),
    [(False, torch.float32), (True, torch.bfloat16)],
    ids=["plain-fp32", "checkpointing-bf16"],
)
def test_a_compiled_prior_is_the_same_for_every_user_and_compiled_once_for_the_user_on_and_once_for_off(
    checkpointing: bool, dtype: torch.dtype
) -> None:
    plain = made(checkpointing=checkpointing, dtype=dtype)
    compiled = made(checkpointing=checkpointing, dtype=dtype)
    compiled[0].compile(backend="aot_eager", fullgraph=True)
    for seed in range(4):
        alike(passes(*compiled, 3, seed), passes(*plain, 3, seed), 1e-6)
    assert counters["stats"]["unique_graphs"] == 2
    assert not counters["graph_break"]


@pytest.mark.long
def test_batches_of_other_sizes_are_compiled_once_more_for_all_of_them() -> None:
    """Users that are dropped change the size of a step's batch."""
    plain, compiled = made(), made()
    compiled[0].compile(backend="aot_eager", fullgraph=True)
    for seed, count in enumerate((4, 6, 2, 5, 3)):
        alike(passes(*compiled, count, seed), passes(*plain, count, seed), 1e-6)
    assert counters["stats"]["unique_graphs"] == 4
    passes(*compiled, 1, 9)  # a batch of one is another case to the compiler
    assert counters["stats"]["unique_graphs"] <= 6


def test_users_under_no_grad_and_a_branch_that_is_taken_off_are_seen() -> None:
    plain, compiled = made(), made()
    compiled[0].compile(backend="aot_eager", fullgraph=True)
    inputs = tiny.inputs(3)
    drawn = []
    for prior, branch in (plain, compiled):
        with torch.no_grad():
            for seed in (0, 1):
                with branch.user(tiny.users(3, seed)):
                    drawn.append(predict_noise(prior, *inputs))
            branch.detach()
            drawn.append(predict_noise(prior, *inputs))
    for expected, found in zip(drawn[:3], drawn[3:], strict=True):
        torch.testing.assert_close(found, expected)
    assert not torch.allclose(drawn[3], drawn[4])
    torch.testing.assert_close(drawn[5], predict_noise(tiny.unet(**LAYERS), *inputs))


def test_compiling_leaves_the_state_dict_alone() -> None:
    prior, _ = made()
    names = list(prior.state_dict())
    prior.compile(backend="aot_eager")
    assert list(prior.state_dict()) == names


@pytest.mark.long
def test_blocks_share_their_graphs_and_other_sizes_of_a_batch_compile_nothing(caplog: pytest.LogCaptureFixture) -> None:
    """Six blocks of each kind; without shared graphs there would be some forty."""
    alike_blocks = {"block_out_channels": (48, 48), "num_attention_heads": (3, 3)}
    networks = [tiny.unet(**alike_blocks) for _ in range(2)]
    for network in networks:
        use_fast_arithmetic(network)
    plain, compiled = ((network, tiny.branch(network)) for network in networks)
    compile_blocks(networks[1], backend="aot_eager", fullgraph=True)
    with caplog.at_level(logging.INFO):
        for seed, count in enumerate((4, 6, 2, 5, 3)):
            alike(passes(*compiled, count, seed), passes(*plain, count, seed), 1e-6)
            # Residual blocks with a skip or not, and attention with a user or not.
            assert counters["stats"]["unique_graphs"] == 2 + 1 + 2
    assert not counters["graph_break"]
    lines = [record.getMessage() for record in caplog.records if record.name == compile_blocks.__module__]
    assert len(lines) == 5
    assert all(line.startswith("compiled ") and line.endswith(" s") for line in lines)


@pytest.mark.long
def test_a_block_is_one_graph_also_where_several_processes_train_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """Else the policy's attention would be cut into what DDP sends at once, and the reference's not."""
    monkeypatch.setattr(DistributedDataParallel, "_active_ddp_module", SimpleNamespace(bucket_bytes_cap=1))
    monkeypatch.setattr(torch.distributed, "_DEFAULT_FIRST_BUCKET_BYTES", 1)
    given: list[Any] = []

    def backend(graph: torch.fx.GraphModule, inputs: list[Tensor]) -> Any:
        given.append(graph)
        return graph.forward

    prior, branch = made()
    compile_blocks(prior, backend=backend)
    passes(prior, branch, 3, 0)
    assert len(given) == counters["stats"]["unique_graphs"] > 0


@pytest.mark.long
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
def test_blocks_of_the_real_compiler_leave_policy_and_reference_of_a_new_branch_alike(dtype: torch.dtype) -> None:
    """With gradients, which the step-0 test does not have."""
    prior = tiny.unet(**LAYERS).to(dtype)
    use_fast_arithmetic(prior)
    branch = tiny.branch(prior, trained=False)
    compile_blocks(prior)
    reference, policy, *_ = passes(prior, branch, 3, 0)
    assert torch.equal(policy, reference)


@pytest.mark.long
def test_the_real_compiler_gives_the_same_to_rounding_in_bf16_and_with_checkpointing() -> None:
    plain, compiled = (made(checkpointing=True, dtype=torch.bfloat16) for _ in range(2))
    compiled[0].compile()
    for seed in range(2):
        alike(passes(*compiled, 3, seed), passes(*plain, 3, seed), 0.02)
    assert counters["stats"]["unique_graphs"] == 2
    assert not counters["graph_break"]
