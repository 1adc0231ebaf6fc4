from __future__ import annotations

import copy
import math

import pytest
import torch
from diffusers import StableCascadeUNet
from diffusers.models.unets.unet_stable_cascade import SDCascadeAttnBlock
from tests import tiny
from torch import Tensor, nn

from ppd_lightning.backbones.cascade.prior import predict_noise
from ppd_lightning.backbones.cascade.user_attention import attach_user_branch
from ppd_lightning.backbones.user_branch import UserBranch

BATCH = 4


def attention_blocks(prior: StableCascadeUNet) -> list[SDCascadeAttnBlock]:
    return [block for block in prior.modules() if isinstance(block, SDCascadeAttnBlock)]


def written_out(block: nn.Module, keys_values: nn.Module, x: Tensor, condition: Tensor, tokens: Tensor) -> Tensor:
    """One attention block with Eq. 7, a head and an example at a time, from its weights in float64.

    x: (B, C, H, W), condition: (B, L, cond), tokens: (B, N, cond).
    """
    attention, (count, width, height, breadth) = block.attention, x.shape
    own = {name: weight.double() for name, weight in block.state_dict().items()}
    to_k, to_v = (getattr(keys_values, name).weight.double() for name in ("to_k", "to_v"))
    out = torch.empty_like(x, dtype=torch.float64)
    for example in range(count):
        image = x[example].double().flatten(1).T  # (H*W, C)
        image_normed = (image - image.mean(1, keepdim=True)) / (
            image.var(1, unbiased=False, keepdim=True) + 1e-6
        ).sqrt()
        silu = condition[example].double() * condition[example].double().sigmoid()
        joint = torch.cat([image_normed, silu @ own["kv_mapper.1.weight"].T + own["kv_mapper.1.bias"]])
        query, key, value = (
            states @ own[f"attention.to_{name}.weight"].T + own[f"attention.to_{name}.bias"]
            for name, states in (("q", image_normed), ("k", joint), ("v", joint))
        )
        user_key, user_value = (tokens[example].double() @ weight.T for weight in (to_k, to_v))
        size, results = width // attention.heads, []
        for head in range(attention.heads):
            part = slice(head * size, (head + 1) * size)
            results.append(
                softmax(query[:, part] @ key[:, part].T / math.sqrt(size)) @ value[:, part]
                + softmax(query[:, part] @ user_key[:, part].T / math.sqrt(size)) @ user_value[:, part]
            )
        mixed = torch.cat(results, 1) @ own["attention.to_out.0.weight"].T + own["attention.to_out.0.bias"]
        out[example] = (image + mixed).T.view(width, height, breadth)
    return out


def softmax(scores: Tensor) -> Tensor:
    powers = (scores - scores.amax(1, keepdim=True)).exp()
    return powers / powers.sum(1, keepdim=True)


class WrittenOut:
    """Runs a whole UNet whose attention blocks are `written_out`, without the branch's own processor."""

    def __init__(self, prior: StableCascadeUNet, branch: UserBranch, users: Tensor) -> None:
        self.prior, self.branch, self.users = prior, branch, users

    def __call__(self, *inputs: Tensor) -> Tensor:
        weights = self.branch.projection
        tokens = self.users.double() @ weights.weight.double().T
        tokens = (tokens + (0 if weights.bias is None else weights.bias.double())).reshape(len(self.users), 4, -1)
        blocks = attention_blocks(self.prior)
        for block, keys_values in zip(blocks, self.branch.blocks, strict=True):
            block.forward = self._instead(block, keys_values, tokens)
        try:
            return predict_noise(self.prior, *inputs)
        finally:
            for block in blocks:
                del block.forward

    @staticmethod
    def _instead(block: SDCascadeAttnBlock, keys_values: nn.Module, tokens: Tensor):
        return lambda x, kv: written_out(block, keys_values, x, kv, tokens).float()


def loss_and_gradients(prior: StableCascadeUNet, branch: UserBranch) -> tuple[Tensor, dict[str, Tensor | None]]:
    branch.zero_grad()
    with branch.user(tiny.users(BATCH)):
        loss = predict_noise(prior, *tiny.inputs(BATCH)).square().sum()
        loss.backward()
    return loss.detach(), {name: weight.grad for name, weight in branch.named_parameters()}


def test_off_the_network_is_the_stock_one_bit_for_bit() -> None:
    prior, inputs = tiny.unet(), tiny.inputs(BATCH)
    stock, weights = predict_noise(prior, *inputs), copy.deepcopy(prior.state_dict())
    branch = tiny.branch(prior)

    assert torch.equal(predict_noise(prior, *inputs), stock)
    with branch.user(tiny.users(BATCH)):
        assert not torch.allclose(predict_noise(prior, *inputs), stock, atol=0.1)
    assert torch.equal(predict_noise(prior, *inputs), stock)
    branch.detach()
    assert torch.equal(predict_noise(prior, *inputs), stock)

    assert list(prior.state_dict()) == list(weights)
    assert all(torch.equal(value, weights[name]) for name, value in prior.state_dict().items())


def test_the_network_has_the_same_parameters_and_modules_with_a_branch() -> None:
    prior = tiny.unet()
    before = [name for name, _ in prior.named_modules()], [name for name, _ in prior.named_parameters()]
    branch = tiny.branch(prior)
    assert before == ([name for name, _ in prior.named_modules()], [name for name, _ in prior.named_parameters()])
    shared = {id(weight) for weight in prior.parameters()} & {id(weight) for weight in branch.parameters()}
    assert not shared


def test_an_error_inside_leaves_the_branch_off() -> None:
    prior, inputs = tiny.unet(), tiny.inputs(BATCH)
    branch, stock = tiny.branch(prior), predict_noise(prior, *inputs)
    with pytest.raises(ZeroDivisionError), branch.user(tiny.users(BATCH)):
        _ = 1 / 0
    assert torch.equal(predict_noise(prior, *inputs), stock)


def test_a_user_inside_a_user_gives_the_outer_one_back() -> None:
    prior, inputs = tiny.unet(), tiny.inputs(BATCH)
    branch = tiny.branch(prior)
    with branch.user(tiny.users(BATCH)):
        outer = predict_noise(prior, *inputs)
        with branch.user(tiny.users(BATCH, seed=1)):
            assert not torch.allclose(predict_noise(prior, *inputs), outer, atol=1e-2)
        assert torch.equal(predict_noise(prior, *inputs), outer)


@pytest.mark.parametrize("index", range(6))
def test_one_block_computes_equation_7_in_joint_attention(index: int) -> None:
    prior = tiny.unet()
    branch = tiny.branch(prior)
    block, keys_values = attention_blocks(prior)[index], branch.blocks[index]
    generator = torch.Generator().manual_seed(index)
    x = torch.randn(BATCH, block.attention.inner_dim, 3, 5, generator=generator)
    condition = torch.randn(BATCH, 7, tiny.UNET["conditioning_dim"], generator=generator)
    users = tiny.users(BATCH)
    with branch.user(users), torch.no_grad():
        ours = block(x, condition)
    expected = written_out(block, keys_values, x, condition, branch.tokens(users).detach())
    torch.testing.assert_close(ours.double(), expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("null", ["zero", "learned"])
def test_the_whole_network_computes_equation_7_in_every_block(null: str) -> None:
    prior, inputs, users = tiny.unet(), tiny.inputs(BATCH), tiny.users(BATCH)
    branch = tiny.branch(prior, null=null)
    with branch.user(users), torch.no_grad():
        ours = predict_noise(prior, *inputs)
    with torch.no_grad():
        expected = WrittenOut(prior, branch, users)(*inputs)
    torch.testing.assert_close(ours, expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("null", ["zero", "learned"])
def test_a_new_branch_changes_nothing(null: str) -> None:
    prior, inputs = tiny.unet(), tiny.inputs(BATCH)
    stock = predict_noise(prior, *inputs)
    branch = tiny.branch(prior, trained=False, null=null)
    with branch.user(tiny.users(BATCH)):
        assert torch.equal(predict_noise(prior, *inputs), stock)


def test_zero_user_is_the_base_bit_for_bit_with_null_zero() -> None:
    prior, inputs = tiny.unet(), tiny.inputs(BATCH)
    stock, branch = predict_noise(prior, *inputs), tiny.branch(prior, null="zero")
    zero = torch.zeros(BATCH, tiny.EMBEDDING)
    with branch.user(zero):
        assert torch.equal(predict_noise(prior, *inputs), stock)
    assert branch.is_base(zero).all()
    assert not branch.is_base(tiny.users(BATCH)).any()


def test_zero_user_with_null_learned_is_somebody() -> None:
    prior, inputs = tiny.unet(), tiny.inputs(BATCH)
    stock, branch = predict_noise(prior, *inputs), tiny.branch(prior, null="learned")
    zero = torch.zeros(BATCH, tiny.EMBEDDING)
    with branch.user(zero):
        assert not torch.allclose(predict_noise(prior, *inputs), stock, atol=0.05)
    assert not branch.is_base(zero).any()


def test_mixed_users_in_a_batch_equal_each_alone() -> None:
    prior, inputs = tiny.unet(), tiny.inputs(BATCH)
    branch, users = tiny.branch(prior), tiny.users(BATCH)
    users[2] = 0
    with torch.no_grad(), branch.user(users):
        together = predict_noise(prior, *inputs)
    for i in range(BATCH):
        with torch.no_grad(), branch.user(users[i : i + 1]):
            alone = predict_noise(prior, *[part[i : i + 1] for part in inputs])
        torch.testing.assert_close(together[i : i + 1], alone, rtol=0, atol=1e-5)


@pytest.mark.parametrize("null", ["zero", "learned"])
def test_gradients_reach_every_weight_of_the_branch_and_none_of_the_trunk(null: str) -> None:
    prior = tiny.unet()
    branch = tiny.branch(prior, null=null)
    _, gradients = loss_and_gradients(prior, branch)
    for name, gradient in gradients.items():
        assert gradient is not None, name
        assert (gradient != 0).float().mean() > 0.99, name
    assert all(weight.grad is None for weight in prior.parameters())


def test_a_new_branch_learns_through_to_v_first() -> None:
    prior = tiny.unet()
    _, gradients = loss_and_gradients(prior, tiny.branch(prior, trained=False))
    moving = {name for name, gradient in gradients.items() if gradient is not None and bool((gradient != 0).any())}
    assert moving == {f"blocks.{i}.to_v.weight" for i in range(6)}


def test_gradient_checkpointing_changes_neither_loss_nor_gradients() -> None:
    plain, saving = tiny.unet(), tiny.unet()
    saving.enable_gradient_checkpointing()
    calls = []
    recompute = saving._gradient_checkpointing_func
    saving._gradient_checkpointing_func = lambda *args: calls.append(1) or recompute(*args)
    expected_loss, expected = loss_and_gradients(plain, tiny.branch(plain))
    loss, gradients = loss_and_gradients(saving, tiny.branch(saving))
    assert calls
    assert torch.equal(loss, expected_loss)
    assert expected.keys() == gradients.keys()
    for name, gradient in gradients.items():
        assert torch.equal(gradient, expected[name]), name


def test_an_fp32_branch_works_on_a_bf16_network() -> None:
    prior, users = tiny.unet(), tiny.users(BATCH)
    inputs = [part.bfloat16() for part in tiny.inputs(BATCH)]
    inputs[1] = torch.zeros_like(inputs[1])  # 10,000 times another time would be rounded by the network itself
    branch = tiny.branch(prior)
    with branch.user(users), torch.no_grad():
        expected = predict_noise(prior, *[part.float() for part in inputs])
    prior.bfloat16()
    with branch.user(users):
        predicted = predict_noise(prior, *inputs)
        predicted.float().sum().backward()
    assert predicted.dtype == torch.float32
    assert (predicted.float() - expected).square().mean() < 1e-3 * expected.square().mean()
    assert all(weight.grad is not None and weight.grad.dtype == torch.float32 for weight in branch.parameters())


@pytest.mark.parametrize("shape", [(BATCH, tiny.EMBEDDING + 1), (tiny.EMBEDDING,), (BATCH, 1, tiny.EMBEDDING)])
def test_embeddings_of_another_shape_are_refused(shape: tuple[int, ...]) -> None:
    branch = tiny.branch(tiny.unet())
    with pytest.raises(ValueError, match=rf"\(B, {tiny.EMBEDDING}\)"), branch.user(torch.zeros(shape)):
        pass


def test_a_second_branch_is_refused_until_the_first_is_detached() -> None:
    prior = tiny.unet()
    branch = attach_user_branch(prior, tiny.EMBEDDING)
    with pytest.raises(ValueError, match="detach"):
        attach_user_branch(prior, tiny.EMBEDDING)
    branch.detach()
    attach_user_branch(prior, tiny.EMBEDDING)


@pytest.mark.parametrize(
    ("settings", "message"),
    [({"num_tokens": 1}, "num_tokens"), ({"num_tokens": 0}, "num_tokens"), ({"null": "none"}, "null")],
)
def test_settings_without_sense_are_refused_and_leave_the_network_stock(
    settings: dict[str, object], message: str
) -> None:
    prior = tiny.unet()
    with pytest.raises(ValueError, match=message):
        attach_user_branch(prior, tiny.EMBEDDING, **settings)
    attach_user_branch(prior, tiny.EMBEDDING)


def test_the_user_tokens_of_one_user_differ() -> None:
    """N identical tokens would be one."""
    branch = tiny.branch(tiny.unet(), num_tokens=5)
    tokens = branch.tokens(tiny.users(1))[0]
    assert tokens.shape == (5, tiny.UNET["conditioning_dim"])
    assert torch.cdist(tokens, tokens).add(torch.eye(5) * 100).min() > 0.1


@pytest.mark.parametrize(
    ("width", "heads", "down", "blocks", "expected"),
    [(1536, 24, (4, 12), 32, 150_994_944), (2048, 32, (8, 24), 64, 536_870_912)],
    ids=["lite", "3.6B"],
)
def test_the_released_models_get_the_papers_number_of_weights(
    width: int, heads: int, down: tuple[int, int], blocks: int, expected: int
) -> None:
    with torch.device("meta"):
        prior = StableCascadeUNet(
            block_out_channels=(width, width),
            num_attention_heads=(heads, heads),
            down_num_layers_per_block=down,
            up_num_layers_per_block=down[::-1],
            conditioning_dim=width,
            clip_text_in_channels=1280,
            clip_text_pooled_in_channels=1280,
            clip_image_in_channels=768,
            switch_level=(False,),
        )
        branch = attach_user_branch(prior, 3584)
    assert sum(weight.numel() for weight in branch.blocks.parameters()) == expected
    assert (len(branch.blocks), branch.projection.weight.numel()) == (blocks, 3584 * 4 * width)
