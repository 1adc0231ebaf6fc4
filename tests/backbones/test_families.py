"""What every model family promises: a user branch that is exact where it must be, and the loss that is written down."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from tests import tiny
from tests.backbones import tiny_flow, tiny_sd3, tiny_unet
from tests.waiting import nothing_waits, on_meta, without_autocast
from torch import Tensor, nn
from torch.nn import functional as F

from ppd_lightning.backbones.adapter import load_adapter, save_adapter
from ppd_lightning.backbones.backbone import Backbone
from ppd_lightning.backbones.base_fingerprint import base_fingerprint
from ppd_lightning.backbones.user_branch import UserBranch
from ppd_lightning.diffusion.draws import draw_batch
from ppd_lightning.diffusion.losses import loss_coefficient, preference_loss
from ppd_lightning.training.noisy_latents import noisy_latents

BATCH, STEPS = 3, 1000
Noised = Callable[[Tensor, Tensor, Tensor], tuple[Tensor, Tensor]]


def _signal(t: Tensor) -> Tensor:
    """alpha^2 of the scaled-linear betas, one by one."""
    products, product = [], 1.0
    for step in range(STEPS):
        beta = (0.00085**0.5 + step / (STEPS - 1) * (0.012**0.5 - 0.00085**0.5)) ** 2
        product *= 1 - beta
        products.append(product)
    return torch.tensor([products[min(int(time * STEPS), STEPS - 1)] for time in t], dtype=torch.float64)


def of_noise(x0: Tensor, noise: Tensor, t: Tensor) -> tuple[Tensor, Tensor]:
    """Noised latents and the target, which is the noise."""
    signal = _signal(t).view(-1, 1, 1, 1)
    return signal.sqrt() * x0 + (1 - signal).sqrt() * noise, noise


def of_velocity(x0: Tensor, noise: Tensor, t: Tensor) -> tuple[Tensor, Tensor]:
    """Noised latents and the target v."""
    signal = _signal(t).view(-1, 1, 1, 1)
    return of_noise(x0, noise, t)[0], signal.sqrt() * noise - (1 - signal).sqrt() * x0


def of_cosine(x0: Tensor, noise: Tensor, t: Tensor) -> tuple[Tensor, Tensor]:
    """Noised latents and the target of Stable Cascade's schedule."""
    share = (torch.cos((t + 0.008) / 1.008 * math.pi / 2) / math.cos(0.008 / 1.008 * math.pi / 2)).square()
    signal = share.clamp(1e-4, 0.9999).view(-1, 1, 1, 1)
    return signal.sqrt() * x0 + (1 - signal).sqrt() * noise, noise


def of_straight(x0: Tensor, noise: Tensor, t: Tensor) -> tuple[Tensor, Tensor]:
    """Noised latents and the target noise - x0 of a straight path whose times are shifted by 3."""
    sigma = (3 * t / (1 + 2 * t)).view(-1, 1, 1, 1)
    return (1 - sigma) * x0 + sigma * noise, noise - x0


@dataclass(frozen=True)
class Family:
    """A family with tiny random parts.

    folder: writes its files. backbone: opens them, with changed settings. image_size: of its tiny latents.
    by_hand: latents, noise and times in float64 to noised latents and the target, written out.
    """

    folder: Callable[[Path], Path]
    backbone: Callable[..., Backbone]
    image_size: int
    by_hand: Noised


FAMILIES = {
    "emoji": Family(tiny.model_folder, lambda path, **own: tiny.backbone(path, **own), 32, of_cosine),
    "sd15": Family(
        lambda path: tiny_unet.folder(path, "sd15"),
        lambda path, **own: tiny_unet.backbone(path, "sd15", **own),
        32,
        of_noise,
    ),
    "sdxl": Family(
        lambda path: tiny_unet.folder(path, "sdxl"),
        lambda path, **own: tiny_unet.backbone(path, "sdxl", **own),
        32,
        of_noise,
    ),
    "sdxl, v": Family(
        lambda path: tiny_unet.folder(path, "sdxl", "v_prediction"),
        lambda path, **own: tiny_unet.backbone(path, "sdxl", prediction="v_prediction", **own),
        32,
        of_velocity,
    ),
    "sd35": Family(tiny_sd3.folder, lambda path, **own: tiny_sd3.backbone(path, **own), 32, of_straight),
    "sd35, dual sites, no T5": Family(
        lambda path: tiny_sd3.folder(path, t5=False),
        lambda path, **own: tiny_sd3.backbone(path, t5=False, dual_sites=True, **own),
        32,
        of_straight,
    ),
    "emoji_flow": Family(tiny_flow.folder, tiny_flow.backbone, 32, of_straight),
}


@dataclass(frozen=True)
class Opened:
    """A family's backbone with its text states, which take the longest to make."""

    family: Family
    path: Path
    model: Backbone
    text: dict[str, Tensor]

    def inputs(self, dtype: torch.dtype = torch.float32) -> tuple[Tensor, Tensor, dict[str, Tensor]]:
        """Noised latents, times and conditions of a batch."""
        generator = torch.Generator().manual_seed(2)
        noised = torch.randn(BATCH, *self.model.latent_shape(self.family.image_size), generator=generator)
        return noised.to(dtype), torch.rand(BATCH, generator=generator), self.text

    def predicted(self, network: nn.Module) -> Tensor:
        """Without gradients."""
        with torch.no_grad():
            return self.model.predict(network, *self.inputs())


@pytest.fixture(scope="module", params=FAMILIES)
def opened(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Opened:
    family = FAMILIES[request.param]
    path = family.folder(tmp_path_factory.mktemp("family"))
    model = family.backbone(path)
    return Opened(family, path, model, model.load_text()(["a red fox", "two blue cars", ""]))


def attached(model: Backbone, network: nn.Module, *, trained: bool = True, **settings: Any) -> UserBranch:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(1)
        branch = model.attach(network, tiny.EMBEDDING, **settings)
        if trained:
            for block in branch.blocks:
                nn.init.normal_(block.to_v.weight, std=0.3)
    return branch


def test_files_are_whole_and_a_size_can_be_decoded(opened: Opened) -> None:
    model, size = opened.model, opened.family.image_size
    assert model.faults() == []
    assert all(finding.remedies == () for finding in model.findings())
    assert model.size_faults(size, "full") == []
    codec = model.load_codec("cpu", "encoder", *model.decoder_parts.values())
    images = torch.rand(2, 3, size, size, generator=torch.Generator().manual_seed(0))
    latents = codec.encode(images)
    assert latents.shape[1:] == model.latent_shape(size)
    conditions = {name: states[:2] for name, states in opened.text.items()}
    full = codec.decode(latents, conditions, [torch.Generator(), torch.Generator()])
    assert full.ndim == 4
    assert full.min() >= 0
    assert full.max() <= 1


def test_text_states_are_the_named_arrays_and_there_is_a_null_text(opened: Opened) -> None:
    text = opened.model.load_text()
    assert tuple(opened.text) == opened.model.text_arrays
    null = opened.model.null_text(text)
    assert {name: states.shape[1:] for name, states in null.items()} == {
        name: states.shape[1:] for name, states in opened.text.items()
    }


def test_off_is_bit_for_bit_stock_and_the_state_dict_is_untouched(opened: Opened) -> None:
    network = opened.model.load_network()
    stock, names = opened.predicted(network), list(network.state_dict())
    branch = attached(opened.model, network)
    assert torch.equal(opened.predicted(network), stock)
    with branch.user(tiny.users(BATCH)):
        assert not torch.allclose(opened.predicted(network), stock, atol=1e-3)
    assert torch.equal(opened.predicted(network), stock)
    assert list(network.state_dict()) == names
    assert not {id(one) for one in network.parameters()} & {id(one) for one in branch.parameters()}
    branch.detach()
    assert torch.equal(opened.predicted(network), stock)


def test_a_new_branch_and_a_zero_user_are_exactly_the_base(opened: Opened) -> None:
    network = opened.model.load_network()
    stock, users = opened.predicted(network), tiny.users(BATCH)
    new = attached(opened.model, network, trained=False)
    with new.user(users):
        assert torch.equal(opened.predicted(network), stock)
    new.detach()
    users[1] = 0
    with attached(opened.model, network).user(users):
        mixed = opened.predicted(network)
    torch.testing.assert_close(mixed[1], stock[1], rtol=0, atol=0)
    assert not torch.allclose(mixed[0], stock[0], atol=1e-3)


def test_a_prediction_with_its_backward_waits_for_nothing(opened: Opened) -> None:
    network = opened.model.load_network()
    branch = attached(opened.model, network)
    network.to("meta")
    branch.to("meta")
    noised, t, text = opened.inputs()
    x0, t, text, path = noised.to("meta"), t.to("meta"), on_meta(text), opened.model.diffusion_path

    def error(users: Tensor) -> Tensor:
        with branch.user(users):
            predicted = opened.model.predict(network, path.add_noise(x0, x0, t), t, text)
            return (predicted - path.target(x0, x0, t)).square().mean()

    users = tiny.users(BATCH).to("meta")
    with without_autocast():
        error(users)  # tables of a path are copied once
        with nothing_waits():
            error(users).backward()


def losses(opened: Opened, network: nn.Module, branch: UserBranch, **settings: Any) -> tuple[Tensor, Tensor, float]:
    """The framework's loss of a batch of pairs, the same by hand in float64, and C."""
    model, shape = opened.model, opened.model.latent_shape(opened.family.image_size)
    generator = torch.Generator().manual_seed(3)
    sides = torch.randn(2, BATCH, *shape, generator=generator)
    pairs = torch.arange(BATCH)
    batch = {"latents_preferred": sides[0], "latents_dispreferred": sides[1], **opened.text}
    draws = draw_batch(0, torch.zeros(BATCH, dtype=torch.int64), pairs, shape)
    objective, users = tiny.objective(**settings), tiny.users(BATCH)
    coefficient = loss_coefficient(objective.beta, math.prod(shape), reduction=objective.reduction)

    def of(errors: Callable[[], tuple[Tensor, ...]], users: Tensor) -> Tensor:
        reference = errors()
        with branch.user(users):
            policy = errors()
        return preference_loss(*policy, *reference, coefficient)[0]

    noised = noisy_latents(model, objective, batch, draws)
    found = of(lambda: noised.errors(model, network), users.repeat(2, 1))
    t = 0.001 + 0.999 * draws.t.double()

    def by_hand() -> tuple[Tensor, ...]:
        errors = []
        for x0 in sides.double():
            inputs, target = opened.family.by_hand(x0, draws.noise_preferred.double(), t)
            predicted = model.predict(network, inputs.float(), t.float(), opened.text)
            errors.append((predicted.double() - target).square().flatten(1).mean(1))
        return tuple(errors)

    return found, of(by_hand, users), coefficient


@torch.no_grad()
@pytest.mark.parametrize("objective", [{"reduction": "sum", "beta": 0.01}, {"reduction": "mean", "beta": 5.0}])
def test_the_loss_is_the_one_that_is_written_out_in_float64(opened: Opened, objective: dict[str, Any]) -> None:
    network = opened.model.load_network()
    found, expected, _ = losses(opened, network, attached(opened.model, network), **objective)
    assert (expected - math.log(2)).abs().max() > 1e-4
    torch.testing.assert_close(found.double(), expected, rtol=1e-4, atol=1e-5)


@torch.no_grad()
def test_the_loss_of_a_new_branch_is_ln_2(opened: Opened) -> None:
    network = opened.model.load_network()
    found, _, coefficient = losses(
        opened, network, attached(opened.model, network, trained=False), reduction="mean", beta=5000.0
    )
    assert coefficient == 2500
    torch.testing.assert_close(found, torch.full((BATCH,), math.log(2)), rtol=0, atol=1e-6)


def gradients(opened: Opened, network: nn.Module, branch: UserBranch) -> dict[str, Tensor]:
    with branch.user(tiny.users(BATCH)):
        opened.model.predict(network, *opened.inputs()).square().mean().backward()
    found = {name: weight.grad.clone() for name, weight in branch.named_parameters() if weight.grad is not None}
    assert found.keys() == dict(branch.named_parameters()).keys()
    return found


def _counted(recompute: Callable[..., Any], calls: list[object]) -> Callable[..., Any]:
    def counted(*args: Any) -> Any:
        calls.append(args[0])
        return recompute(*args)

    return counted


def test_checkpointing_changes_no_gradient_and_none_is_zero(opened: Opened) -> None:
    plain, saving = opened.model.load_network(), opened.model.load_network()
    saving.enable_gradient_checkpointing()
    calls = []
    for module in saving.modules():
        if getattr(module, "_gradient_checkpointing_func", None) is not None:
            module._gradient_checkpointing_func = _counted(module._gradient_checkpointing_func, calls)
    expected = gradients(opened, plain, attached(opened.model, plain))
    found = gradients(opened, saving, attached(opened.model, saving))
    assert calls
    for name, gradient in found.items():
        assert gradient.isfinite().all(), name
        assert gradient.any(), name
        assert torch.equal(gradient, expected[name]), name


def test_an_fp32_branch_trains_on_a_bf16_network(opened: Opened) -> None:
    expected = opened.predicted(opened.model.load_network())
    network = opened.model.load_network(torch.bfloat16)
    assert opened.predicted(network).dtype == torch.float32
    assert (opened.predicted(network) - expected).square().mean() < 0.01 * expected.square().mean()
    found = gradients(opened, network, attached(opened.model, network))
    assert all(gradient.dtype == torch.float32 and gradient.any() for gradient in found.values())


@pytest.mark.parametrize("width", ["network", "enough", 7])
def test_an_adapter_comes_back_at_any_width_of_its_tokens(opened: Opened, width: str | int, tmp_path: Path) -> None:
    network, file = opened.model.load_network(), tmp_path / "adapter.safetensors"
    branch = attached(opened.model, network, token_width=width)
    save_adapter(branch, file, base=base_fingerprint(network))
    fresh = opened.model.load_network()
    loaded = load_adapter(opened.family.backbone(opened.path, token_width=5), fresh, file)
    assert loaded.config == branch.config
    with branch.user(tiny.users(BATCH)), loaded.user(tiny.users(BATCH)):
        assert torch.equal(opened.predicted(network), opened.predicted(fresh))


def test_an_adapter_that_does_not_say_its_width_has_the_networks_own(opened: Opened, tmp_path: Path) -> None:
    """As all had before there was a choice."""
    network, file = opened.model.load_network(), tmp_path / "adapter.safetensors"
    save_adapter(attached(opened.model, network, token_width="network"), file, base=base_fingerprint(network))
    with safe_open(file, "pt") as read:
        header = json.loads(read.metadata()["ppd_lightning"])
    assert header["branch"].keys() == {"embedding_dim", "num_tokens", "null"}
    save_file(load_file(file), file, {"ppd_lightning": json.dumps(header)})
    load_adapter(opened.family.backbone(opened.path, token_width="enough"), opened.model.load_network(), file)


@pytest.mark.long
def test_a_compiled_network_is_the_same_without_a_break(opened: Opened) -> None:
    torch._dynamo.reset()
    network = opened.model.load_network()
    branch = attached(opened.model, network)
    with branch.user(tiny.users(BATCH)):
        expected = opened.predicted(network)
    stock = opened.predicted(network)
    network.compile(backend="eager", fullgraph=True)
    with branch.user(tiny.users(BATCH)):
        torch.testing.assert_close(opened.predicted(network), expected, rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(opened.predicted(network), stock, rtol=1e-4, atol=1e-4)
    torch._dynamo.reset()


def test_the_loss_by_hand_can_fail() -> None:
    """The margin decides: twice the coefficient is another loss."""
    errors = [torch.tensor([value]) for value in (1.0, 2.0, 1.5, 1.4)]
    once, twice = (preference_loss(*errors, coefficient)[0] for coefficient in (1.0, 2.0))
    torch.testing.assert_close(once, -F.logsigmoid(torch.tensor([1.1])))
    assert not torch.equal(once, twice)
