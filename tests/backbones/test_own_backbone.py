"""A model family of one's own is one class outside of the package: found by `target`, trained beside, drawn with."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Annotated, Any, ClassVar

import pytest
import torch
from pydantic import TypeAdapter
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.nn import functional as F

from ppd_lightning.backbones.adapter import load_adapter, save_adapter
from ppd_lightning.backbones.backbone import Backbone
from ppd_lightning.backbones.base_fingerprint import base_fingerprint
from ppd_lightning.backbones.card_facts import CardFacts, DrawingCode
from ppd_lightning.backbones.files import ModelPart
from ppd_lightning.backbones.user_branch import Site, UserAttention, UserBranch
from ppd_lightning.backbones.weights import load_weights
from ppd_lightning.errors import UserError
from ppd_lightning.generation.pipeline import Guidance, UserPipeline, _generator
from ppd_lightning.settings.part import by_target, settings

WIDTH, TEXT, HEADS, SIDE, EMBEDDING = 12, 10, 3, 2, 5
VALUES: dict[str, Any] = {
    "target": f"{__name__}.Straight",
    "name": "straight",
    "path": None,
    "codec_path": None,
    "num_tokens": 3,
    "null_user": "zero",
}


class Network(nn.Module):
    """One cross-attention to a text in three channels of 2 x 2; `user` adds to its result where it is set."""

    def __init__(self) -> None:
        super().__init__()
        self.inward, self.outward = nn.Linear(4, WIDTH), nn.Linear(WIDTH, 3)
        self.to_k, self.to_v = nn.Linear(TEXT, WIDTH), nn.Linear(TEXT, WIDTH)
        self.user: UserAttention | None = None

    def forward(self, noised: Tensor, t: Tensor, words: Tensor) -> Tensor:
        def heads(states: Tensor) -> Tensor:
            return states.view(*states.shape[:2], HEADS, -1).transpose(1, 2)

        times = t.view(-1, 1, 1).expand(-1, SIDE**2, 1)
        query = heads(self.inward(torch.cat([noised.flatten(2).transpose(1, 2), times], 2)))
        mixed = F.scaled_dot_product_attention(query, heads(self.to_k(words)), heads(self.to_v(words)))
        if self.user is not None and self.user.on:
            mixed = mixed + self.user(query)
        return self.outward(mixed.transpose(1, 2).flatten(2)).transpose(1, 2).reshape(noised.shape)


class StraightPath:
    """Rectified flow: x_t = (1 - t) x_0 + t noise; the network predicts noise - x_0."""

    def alpha(self, t: Tensor) -> Tensor:
        return 1 - t

    def sigma(self, t: Tensor) -> Tensor:
        return t

    def log_snr(self, t: Tensor) -> Tensor:
        return 2 * ((1 - t).log() - t.log())

    def elbo_weight(self, t: Tensor) -> Tensor:
        return (1 - t) / t

    def add_noise(self, x0: Tensor, noise: Tensor, t: Tensor) -> Tensor:
        t = t.view(-1, 1, 1, 1)
        return (1 - t) * x0 + t * noise

    def target(self, x0: Tensor, noise: Tensor, t: Tensor) -> Tensor:
        return noise - x0


class Euler:
    """Steps of equal length."""

    def timesteps(self, steps: int, device: torch.device | str) -> Tensor:
        self.length = 1 / steps
        return torch.linspace(1, 0, steps + 1, device=device)[:-1]

    def step(self, prediction: Tensor, t: Tensor, latents: Tensor, generators: object) -> Tensor:
        return latents - self.length * prediction


class Codec:
    """Latents are pictures."""

    def encode(self, images: Tensor) -> Tensor:
        return images

    def preview(self, latents: Tensor) -> Tensor:
        return latents.sigmoid()

    def decode(self, latents: Tensor, conditions: Mapping[str, Tensor], generators: object) -> Tensor:
        return latents.sigmoid()


@settings
class Straight(Backbone):
    """A flow model with one site and one array of text."""

    stride: ClassVar[int] = 4
    latent_channels: ClassVar[int] = 3
    text_arrays: ClassVar[tuple[str, ...]] = ("words",)
    decoder_parts: ClassVar[dict[str, str]] = {"full": "decoder", "preview": "decoder"}
    title: ClassVar[str] = "a straight one"
    parts: ClassVar[dict[str, ModelPart]] = {"prior": ModelPart((("network.safetensors",),), "own/hub", "1 kB", "free")}
    diffusion_path: ClassVar[StraightPath] = StraightPath()

    def load_network(self, dtype: torch.dtype | None = None) -> nn.Module:
        return load_weights(Network, *self.files("prior"), dtype=dtype or torch.float32)

    def predict(self, network: nn.Module, noised: Tensor, t: Tensor, conditions: Mapping[str, Tensor]) -> Tensor:
        return network(noised, t, conditions["words"])

    def _attach(self, network: Network, embedding_dim: int, num_tokens: int, null: str) -> UserBranch:
        def install(user: UserAttention) -> Callable[[], None]:
            network.user = user
            return lambda: setattr(network, "user", None)

        return UserBranch([Site(WIDTH, install)], TEXT, embedding_dim, num_tokens, null)

    def load_codec(self, device: torch.device | str = "cpu", *needs: str) -> Codec:
        return Codec()

    def load_text(self, device: torch.device | str = "cpu") -> Callable[[list[str]], dict[str, Tensor]]:
        def states(captions: list[str]) -> dict[str, Tensor]:
            seeds = [torch.Generator().manual_seed(len(caption)) for caption in captions]
            return {"words": torch.stack([torch.randn(4, TEXT, generator=seed) for seed in seeds])}

        return states

    def load_tokenizer(self) -> Any:
        raise NotImplementedError

    def sampler(self) -> Euler:
        return Euler()

    def card_facts(self) -> CardFacts:
        raise NotImplementedError

    def drawing_code(self) -> DrawingCode:
        raise NotImplementedError


@pytest.fixture
def model(tmp_path: Path) -> Backbone:
    """By its YAML's values, with random weights."""
    torch.manual_seed(0)
    save_file(Network().state_dict(), tmp_path / "network.safetensors")
    values = VALUES | {"path": str(tmp_path)}
    opened: Backbone = TypeAdapter(Annotated[Backbone, by_target(Backbone)]).validate_python(values)
    return opened


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
