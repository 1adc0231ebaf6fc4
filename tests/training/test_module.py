from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch
from tests import tiny
from tests.training.objectives import OTHERS
from tests.training.objectives import objective as objective_of
from torch import Tensor, nn

from ppd_lightning.diffusion.draws import draw
from ppd_lightning.diffusion.weighting import TimeWeight
from ppd_lightning.errors import UserError
from ppd_lightning.training.module import PPDModule
from ppd_lightning.training.objectives.objective import Objective

SEED, COUNT = 5, 6
DIMS = math.prod(tiny.LATENT)


def made(
    objective: Objective | None = None,
    *,
    null: str = "zero",
    trained: bool = True,
    micro_batches: int = 1,
    **changes: Any,
) -> PPDModule:
    """A module whose logged figures are in `.logged`."""
    backbone, network, objective = tiny.backbone(), tiny.unet(), objective or objective_of()
    errors = torch.linspace(0.2, 3, TimeWeight.BINS) if objective.weighting == "adaptive" else None
    weight = TimeWeight(objective.weighting, backbone.diffusion_path, objective.t_min, objective.t_max, errors)
    ours = PPDModule(
        backbone,
        network,
        tiny.branch(network, null=null, trained=trained),
        objective,
        tiny.optimizer(**changes),
        weight,
        latent_shape=tiny.LATENT,
        max_steps=100,
        seed=SEED,
        micro_batches=micro_batches,
    )
    ours.logged = {}
    ours.log_dict = lambda figures, **_: ours.logged.update(figures)
    return ours


def step(ours: PPDModule, batch: dict[str, Tensor]) -> tuple[Tensor, dict[str, Tensor]]:
    """Loss and gradients of one training step."""
    ours.zero_grad()
    loss = ours.training_step(batch, 0)
    loss.backward()
    ours.on_after_backward()
    return loss.detach(), {name: weight.grad.clone() for name, weight in ours.branch.named_parameters()}


def predicted(network: nn.Module, noised: Tensor, t: Tensor, text: Tensor, pooled: Tensor) -> Tensor:
    return tiny.backbone().predict(network, noised, t, tiny.conditions(text, pooled))


def errors_by_hand(
    ours: PPDModule, batch: dict[str, Tensor], objective: Objective, users: Tensor | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """Times (B,) and mean squared errors (B, 2, 2) of (policy, reference) x (preferred, dispreferred), in float64.

    Each example and each side goes through the network alone, the reference through a stock one.
    """
    stock, times, errors = tiny.unet(), [], []
    users = batch["user"] if users is None else users
    for i in range(len(batch["pair"])):
        drawn = draw(SEED, int(batch["epoch"][i]), int(batch["pair"][i]), tiny.LATENT)
        t = objective.t_min + (objective.t_max - objective.t_min) * float(drawn.t)
        bar = math.cos((0.008 + t) / 1.008 * math.pi / 2) ** 2 / math.cos(0.008 / 1.008 * math.pi / 2) ** 2
        bar = min(max(bar, 1e-4), 0.9999)
        noises = {"preferred": drawn.noise_preferred, "dispreferred": drawn.noise_dispreferred}
        for side in ("preferred", "dispreferred"):
            noise = drawn.noise_preferred if objective.share_noise else noises[side]
            noised = math.sqrt(bar) * batch[f"latents_{side}"][i] + math.sqrt(1 - bar) * noise
            rest = (torch.tensor([t], dtype=torch.float32), batch["text"][i : i + 1], batch["text_pooled"][i : i + 1])
            with torch.no_grad():
                reference = predicted(stock, noised[None], *rest)
                with ours.branch.user(users[i : i + 1]):
                    policy = predicted(ours.network, noised[None], *rest)
            errors += [((made[0].double() - noise.double()) ** 2).mean().item() for made in (policy, reference)]
        times.append(t)
    return np.array(times), np.array(errors).reshape(-1, 2, 2).transpose(0, 2, 1)


def preference_by_hand(errors: np.ndarray, coefficient: np.ndarray | float) -> tuple[np.ndarray, np.ndarray]:
    """Loss and margin, both (B,), of Eq. 6."""
    gain = errors[:, 0] - errors[:, 1]
    margin = -coefficient * (gain[:, 0] - gain[:, 1])
    return np.log1p(np.exp(-margin)), margin


@pytest.mark.parametrize("null", ["zero", "learned"])
@pytest.mark.parametrize("name", ["ppd", "sft", "sdpo", "linear_dpo", "ipo", "kto", "mapo", "dispersion"])
def test_the_loss_of_a_new_branch_is_ln_2(name: str, null: str) -> None:
    ours = made(objective_of(name, beta=2.0), null=null, trained=False)
    batch = tiny.batch(COUNT) | {"others": tiny.others(COUNT, OTHERS)}
    assert ours.step0_loss(batch) == pytest.approx(math.log(2), abs=1e-6)


@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"share_noise": False, "beta": 0.3, "timesteps_weight": 1.0},
        {"weighting": "adaptive", "t_min": 0.25, "t_max": 0.9},
        {"weighting": "p2", "reduction": "mean", "timesteps_weight": 50.0},
        {"name": "diffusion_dpo"},
    ],
)
@pytest.mark.parametrize("null", ["zero", "learned"])
def test_the_preference_loss_is_equation_6_from_explicit_forwards(settings: dict[str, Any], null: str) -> None:
    objective = objective_of(**settings)
    ours, batch = made(objective, null=null), tiny.batch(COUNT)
    batch["epoch"] += torch.arange(COUNT)
    loss, _ = step(ours, batch)

    times, errors = errors_by_hand(ours, batch, objective)
    dims = DIMS if objective.reduction == "sum" else 1
    weight = ours.time_weight(torch.from_numpy(times)).double().numpy()
    expected, margin = preference_by_hand(errors, objective.beta * objective.timesteps_weight * dims * weight)

    assert loss.item() == pytest.approx(expected.mean(), rel=1e-3)
    logged = {name: value.item() for name, value in ours.logged.items()}
    assert logged == pytest.approx(
        {
            "train/loss": expected.mean(),
            "train/implicit_accuracy": (margin > 0).mean(),
            "train/margin": margin.mean(),
            "train/error_preferred": errors[:, 0, 0].mean(),
            "train/error_dispreferred": errors[:, 0, 1].mean(),
            "train/gain_preferred": (errors[:, 0, 0] - errors[:, 1, 0]).mean(),
            "train/gain_dispreferred": (errors[:, 0, 1] - errors[:, 1, 1]).mean(),
        },
        rel=5e-3,
        abs=1e-4,
    )


def test_validation_is_the_preference_loss_with_nobody_dropped() -> None:
    objective = objective_of("sft", drop_user=0.9)
    ours, batch = made(objective), tiny.batch(COUNT)
    with torch.no_grad():
        ours.validation_step(batch, 0)
    _, errors = errors_by_hand(ours, batch, objective)
    expected, margin = preference_by_hand(errors, DIMS / 2)
    assert ours.logged["validation/loss"].item() == pytest.approx(expected.mean(), rel=1e-3)
    assert ours.logged["validation/implicit_accuracy"].item() == pytest.approx((margin > 0).mean())
    assert off(ours)


def test_sft_is_the_weighted_error_on_the_preferred_image_without_a_reference(monkeypatch: pytest.MonkeyPatch) -> None:
    forwards, backbone = [], type(tiny.backbone())
    predict = backbone.predict
    monkeypatch.setattr(backbone, "predict", lambda *given: forwards.append(len(given[2])) or predict(*given))
    objective = objective_of("sft", weighting="adaptive", t_min=0.3)
    ours, batch = made(objective), tiny.batch(COUNT)
    loss, _ = step(ours, batch)
    assert forwards == [COUNT]
    times, errors = errors_by_hand(ours, batch, objective)
    weight = ours.time_weight(torch.from_numpy(times)).numpy()
    assert loss.item() == pytest.approx((weight * errors[:, 0, 0]).mean(), rel=1e-4)


def test_sft_weight_adds_the_supervised_gradient() -> None:
    batch = tiny.batch(COUNT)
    plain_loss, plain = step(made(), batch)
    _, supervised = step(made(objective_of("sft")), batch)
    loss, gradients = step(made(tiny.objective(sft_weight=0.1)), batch)
    for name, gradient in gradients.items():
        expected = plain[name] + 0.1 * DIMS / 2 * supervised[name]
        torch.testing.assert_close(gradient, expected, rtol=1e-3, atol=1e-4 * expected.abs().max().item())
    assert loss != plain_loss


def dropped(rate: float, count: int) -> torch.Tensor:
    batch = tiny.batch(count)
    drawn = [draw(SEED, 0, int(pair), tiny.LATENT).drop_user for pair in batch["pair"]]
    return torch.stack(drawn) < rate


def test_dropped_pairs_are_left_out_where_they_would_teach_nothing() -> None:
    """They count zero in the gradient, and not at all in the figures."""
    gone, batch = dropped(0.5, 12), tiny.batch(12)
    assert 0 < gone.sum() < 12
    ours, others = made(tiny.objective(drop_user=0.5)), made()
    loss, gradients = step(ours, batch)
    expected_loss, expected = step(others, {name: value[~gone] for name, value in batch.items()})
    share = (~gone).sum() / 12
    torch.testing.assert_close(loss, expected_loss * share)
    for name, gradient in gradients.items():
        torch.testing.assert_close(gradient, expected[name] * share)
    assert ours.logged == others.logged


def test_dropped_users_are_zero_where_that_is_somebody() -> None:
    gone, batch = dropped(0.5, 12), tiny.batch(12)
    objective = tiny.objective(drop_user=0.5)
    ours = made(objective, null="learned")
    loss, _ = step(ours, batch)
    users = batch["user"] * ~gone[:, None]
    _, errors = errors_by_hand(ours, batch, objective, users)
    assert loss.item() == pytest.approx(preference_by_hand(errors, DIMS / 2)[0].mean(), rel=1e-3)
    assert batch["user"][gone].abs().min() > 0  # the batch itself is as it was


def test_a_batch_in_which_everybody_is_dropped_teaches_nothing() -> None:
    ours = made(tiny.objective(drop_user=1.0))
    loss, gradients = step(ours, tiny.batch(4))
    assert loss == 0
    assert all(gradient.abs().max() == 0 for gradient in gradients.values())
    assert ours.logged == {}


@pytest.mark.parametrize("drop", [0.0, 0.5])
@pytest.mark.parametrize("name", ["ppd", "sft", "dispersion"])
def test_micro_batches_add_up_to_the_step(name: str, drop: float) -> None:
    """The gradient and the figures of four batches of three pairs, one of them dropped whole, are those of twelve."""
    objective = objective_of(name, drop_user=drop, sft_weight=0.1)
    batch = tiny.batch(12) | {"others": tiny.others(12, OTHERS)}
    gone = dropped(drop, 12)
    order = torch.cat([gone.nonzero()[:, 0], (~gone).nonzero()[:, 0]])
    batch = {key: value[order] for key, value in batch.items()}
    whole = made(objective)
    _, expected = step(whole, batch)
    split = made(objective, micro_batches=4)
    split.zero_grad()
    for begin in range(0, 12, 3):
        assert split.logged == {}
        (split.training_step({key: value[begin : begin + 3] for key, value in batch.items()}, 0) / 4).backward()
        split.on_after_backward()
    for key, weight in split.branch.named_parameters():
        torch.testing.assert_close(weight.grad, expected[key])
    assert {key: value.item() for key, value in split.logged.items()} == pytest.approx(
        {key: value.item() for key, value in whole.logged.items()}, rel=1e-4
    )


def off(ours: PPDModule) -> bool:
    """Whether the network is the stock one now."""
    inputs = tiny.inputs(4)  # as many as two pairs have images
    return torch.equal(predicted(ours.network, *inputs), predicted(tiny.unet(), *inputs))


def test_the_user_is_on_until_the_backward_is_over() -> None:
    ours = made()
    loss = ours.training_step(tiny.batch(2), 0)
    assert not off(ours)
    loss.backward()
    ours.on_after_backward()
    assert off(ours)


def test_a_step_that_broke_off_does_not_show_its_user_to_the_next_ones_reference() -> None:
    batch = tiny.batch(COUNT)
    expected, _ = step(made(), batch)
    ours = made()
    ours.training_step(tiny.batch(COUNT, seed=3), 0)  # and no backward
    loss, _ = step(ours, batch)
    assert torch.equal(loss, expected)


def test_gradient_checkpointing_changes_no_training_step() -> None:
    batch, saving = tiny.batch(COUNT), made()
    loss, gradients = step(made(), batch)
    saving.network.enable_gradient_checkpointing()
    again, recomputed = step(saving, batch)
    assert torch.equal(loss, again)
    assert all(torch.equal(gradient, recomputed[name]) for name, gradient in gradients.items())


@pytest.mark.parametrize("name", ["ppd", "diffusion_dpo"])
def test_the_first_steps_of_a_new_branch_raise_the_margin(name: str) -> None:
    ours, batch = made(objective_of(name), trained=False), tiny.batch(COUNT)
    made_of = ours.configure_optimizers()
    margins = []
    for _ in range(4):
        step(ours, batch)
        margins.append(ours.logged["train/margin"].item())
        made_of["optimizer"].step()
    assert margins[0] == 0
    assert margins == sorted(set(margins))


def test_the_first_steps_of_sft_lower_the_error_on_the_preferred_image() -> None:
    ours, batch = made(objective_of("sft"), trained=False), tiny.batch(COUNT)
    optimizer, losses = ours.configure_optimizers()["optimizer"], []
    for _ in range(4):
        losses.append(step(ours, batch)[0].item())
        optimizer.step()
    assert losses == sorted(set(losses), reverse=True)


def test_only_the_branch_is_optimised() -> None:
    ours = made()
    groups = ours.configure_optimizers()["optimizer"].param_groups
    assert {id(weight) for group in groups for weight in group["params"]} == {
        id(weight) for weight in ours.branch.parameters()
    }


def test_a_checkpoint_holds_the_branch_only_and_must_hold_all_of_it() -> None:
    ours = made()
    checkpoint = {"state_dict": ours.state_dict()}
    ours.on_save_checkpoint(checkpoint)
    assert set(checkpoint["state_dict"]) == {f"branch.{name}" for name in ours.branch.state_dict()}
    ours.on_load_checkpoint(checkpoint)
    del checkpoint["state_dict"]["branch.projection.weight"]
    with pytest.raises(UserError, match=r"branch\.projection\.weight"):
        ours.on_load_checkpoint(checkpoint)


def test_the_network_must_be_frozen_and_stays_in_evaluation_mode() -> None:
    ours = made()
    ours.train()
    assert ours.branch.training
    assert not any(part.training for part in ours.network.modules())
    for harm in (lambda network: network.train(), lambda network: network.requires_grad_(True)):
        backbone, network = tiny.backbone(), tiny.unet()
        branch = tiny.branch(network)
        harm(network)
        with pytest.raises(ValueError, match="frozen"):
            PPDModule(
                backbone,
                network,
                branch,
                tiny.objective(),
                tiny.optimizer(),
                TimeWeight("const", backbone.diffusion_path, 0.001, 1.0),
                latent_shape=tiny.LATENT,
                max_steps=1,
                seed=0,
            )


def test_the_learning_rate_warms_up_and_falls_with_the_steps() -> None:
    ours = made(warmup_steps=4, schedule="linear", lr=0.5)
    made_of = ours.configure_optimizers()
    assert made_of["lr_scheduler"]["interval"] == "step"
    rates = []
    for _ in range(101):
        rates.append(made_of["optimizer"].param_groups[0]["lr"])
        made_of["optimizer"].step()
        made_of["lr_scheduler"]["scheduler"].step()
    assert rates[:5] == pytest.approx([0.1, 0.2, 0.3, 0.4, 0.5])
    assert rates[52] == pytest.approx(0.25)
    assert rates[100] == 0
