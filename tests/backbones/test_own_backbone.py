"""A model family of one's own is one class outside of the package: found by `target`, trained beside, drawn with."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from tests.parts.straight import SIDE, TEXT, Network, Straight
from torch import Tensor, nn
from torch.nn import functional as F

from ppd_lightning.backbones.adapter import load_adapter, save_adapter
from ppd_lightning.backbones.backbone import Backbone
from ppd_lightning.backbones.base_fingerprint import base_fingerprint
from ppd_lightning.backbones.user_branch import UserBranch
from ppd_lightning.config.compose import compose
from ppd_lightning.errors import UserError
from ppd_lightning.generation.pipeline import Guidance, UserPipeline, _generator

CONF = Path(__file__).parents[1] / "parts/conf"
EMBEDDING = 5


@pytest.fixture
def model(tmp_path: Path) -> Backbone:
    """As its YAML describes it, with random weights."""
    torch.manual_seed(0)
    save_file(Network().state_dict(), tmp_path / "network.safetensors")
    return compose(["model=straight", f"model.path={tmp_path}"], CONF).model


def trained(model: Backbone, network: nn.Module) -> UserBranch:
    torch.manual_seed(1)
    branch = model.attach(network, EMBEDDING)
    nn.init.normal_(branch.blocks[0].to_v.weight)
    return branch


def inputs(count: int) -> tuple[Tensor, Tensor, dict[str, Tensor]]:
    generator = torch.Generator().manual_seed(2)
    noised = torch.randn(count, 3, SIDE, SIDE, generator=generator)
    words = torch.randn(count, 4, TEXT, generator=generator)
    return noised, torch.rand(count, generator=generator), {"words": words}


def test_a_target_opens_it_and_its_files_are_looked_for(model: Backbone, tmp_path: Path) -> None:
    assert isinstance(model, Straight)
    assert [finding.remedies for finding in model.findings()] == [()]
    (tmp_path / "network.safetensors").unlink()
    with pytest.raises(UserError, match=r"lacks network\.safetensors; get this part from own/hub .* \(1 kB; free\)"):
        model.load_network()


def test_a_branch_is_off_bit_for_bit_changes_nothing_when_new_and_something_when_trained(model: Backbone) -> None:
    network = model.load_network()
    stock, names, users = model.predict(network, *inputs(4)), list(network.state_dict()), torch.randn(4, EMBEDDING)
    with model.attach(network, EMBEDDING).user(users):
        assert torch.equal(model.predict(network, *inputs(4)), stock)
    branch = trained(model, network)
    assert torch.equal(model.predict(network, *inputs(4)), stock)
    with branch.user(users):
        assert not torch.allclose(model.predict(network, *inputs(4)), stock, atol=1e-2)
    with branch.user(torch.zeros_like(users)):
        assert torch.equal(model.predict(network, *inputs(4)), stock)
    assert list(network.state_dict()) == names
    assert branch.config == {"embedding_dim": EMBEDDING, "num_tokens": 3, "null": "zero"}


def test_the_loss_of_a_new_branch_on_its_own_path_is_ln_2(model: Backbone) -> None:
    network, (x0, t, conditions) = model.load_network(), inputs(4)
    branch, path = model.attach(network, EMBEDDING), model.diffusion_path
    noise, other = torch.randn_like(x0), torch.randn_like(x0)

    def error(image: Tensor) -> Tensor:
        predicted = model.predict(network, path.add_noise(image, noise, t), t, conditions)
        return (predicted - path.target(image, noise, t)).square().flatten(1).mean(1)

    with branch.user(torch.randn(4, EMBEDDING)):
        policy = error(x0), error(other)
    loss = -F.logsigmoid(-100 * ((policy[0] - error(x0)) - (policy[1] - error(other))))
    torch.testing.assert_close(loss, torch.full((4,), math.log(2)))


def test_its_adapter_comes_back(model: Backbone, tmp_path: Path) -> None:
    network = model.load_network()
    branch, users = trained(model, network), torch.randn(4, EMBEDDING)
    with branch.user(users), torch.no_grad():
        expected = model.predict(network, *inputs(4))
    save_adapter(branch, tmp_path / "adapter.safetensors", base=base_fingerprint(network))
    fresh = model.load_network()
    with load_adapter(model, fresh, tmp_path / "adapter.safetensors").user(users), torch.no_grad():
        assert torch.equal(model.predict(fresh, *inputs(4)), expected)


def test_it_draws_its_own_euler_steps_with_two_guidance_scales(model: Backbone) -> None:
    network = model.load_network()
    branch, user, steps = trained(model, network), torch.randn(1, EMBEDDING), 4
    pipeline = UserPipeline.of(model, network, branch, image_size=8)
    drawn = pipeline(["a fox"], user, [3], steps=steps, guidance=Guidance(text=2.0, user=1.5))
    text, null = (model.load_text()([words]) for words in ("a fox", ""))
    x = torch.randn(1, 3, SIDE, SIDE, generator=_generator("network", "a fox", 3))
    for step in range(steps):
        t = torch.tensor([1 - step / steps])
        with torch.no_grad():
            of_null, of_text = (model.predict(network, x, t, words) for words in (null, text))
            with branch.user(user):
                of_user = model.predict(network, x, t, text)
        x = x - (of_null + 2.0 * (of_text - of_null) + 1.5 * (of_user - of_text)) / steps
    torch.testing.assert_close(drawn, x.sigmoid(), rtol=1e-5, atol=1e-5)
