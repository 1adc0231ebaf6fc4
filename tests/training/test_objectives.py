"""The losses of the objectives, in float64 from their formulas, and what a training gives them."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
import torch
from omegaconf import OmegaConf
from tests import tiny
from tests.training.objectives import OTHERS, SHIPPED
from tests.training.objectives import objective as objective_of
from tests.training.test_module import COUNT, made, predicted, step
from torch import Tensor

from ppd_lightning.config.compose import compose
from ppd_lightning.errors import UserError
from ppd_lightning.training.objectives.objective import Objective, PairErrors
from ppd_lightning.training.objectives.sdpo import SDPO
from ppd_lightning.training.pair_draws import draws_in

B = 7
WEIGHT = torch.linspace(0.5, 8, B, dtype=torch.float64)


def some_errors(reference: bool = True) -> PairErrors:
    generator = torch.Generator().manual_seed(3)
    drawn = torch.rand(5, B, dtype=torch.float64, generator=generator) + 0.1
    distances = torch.rand(B, OTHERS, dtype=torch.float64, generator=generator)
    return PairErrors((drawn[0], drawn[1]), (drawn[2], drawn[3]) if reference else (), drawn[4] - 0.6, distances)


def margins(errors: PairErrors) -> np.ndarray:
    (a, b), (c, d) = ([one.numpy() for one in both] for both in (errors.policy, errors.reference))
    return -WEIGHT.numpy() * ((a - c) - (b - d))


def logistic(values: np.ndarray) -> np.ndarray:
    return 1 / (1 + np.exp(-values))


def of(objective: Objective, errors: PairErrors) -> np.ndarray:
    return objective.loss(errors, WEIGHT).total.detach().numpy()


def test_the_losses_are_their_formulas() -> None:
    errors = some_errors()
    m, c = margins(errors), WEIGHT.numpy()
    (a, b), (p, q) = ([one.numpy() for one in both] for both in (errors.policy, errors.reference))

    def score(error: np.ndarray) -> np.ndarray:
        return 0.5 * error / (np.exp(0.5 * error) - 1)

    expected = {
        "sdpo": -np.log(logistic(m)),
        "linear_dpo": -np.clip(0.5 - 0.4 * m, 0.001, 0.999) * m,
        "ipo": (m - 0.5) ** 2,
        "cdpo": -0.9 * np.log(logistic(m)) - 0.1 * np.log(1 - logistic(m)),
        "kto": 0.8 * (1 - logistic(-c * (a - p))) + 0.2 * (1 - logistic(c * (b - q))),
        "dispersion": -np.log(logistic(m)) + 0.1 * np.log(np.exp(-errors.distances.numpy()).mean(1)),
        "mapo": c * (a - 0.1 * np.log(logistic(10 * (score(a) - score(b))))),
    }
    for name, loss in expected.items():
        objective = objective_of(name, **({"margin_scale": 10.0} if name == "mapo" else {}))
        seen = errors if objective.needs_reference else some_errors(reference=False)
        np.testing.assert_allclose(of(objective, seen), loss, rtol=1e-12)


@pytest.mark.parametrize("name", SHIPPED)
def test_the_first_loss_is_the_one_where_policy_and_reference_agree(name: str) -> None:
    objective = objective_of(name)
    expected = dict.fromkeys(("ppd", "sdpo", "cdpo", "diffusion_dpo", "dispersion"), math.log(2))
    assert objective.first_loss == {**expected, "linear_dpo": 0, "ipo": 0.25, "kto": 0.5}.get(name)
    if objective.first_loss is None:
        return
    one = some_errors()
    same = PairErrors(one.policy, one.policy, one.product, torch.zeros_like(one.distances))
    objective.require_first_loss(same, WEIGHT)
    np.testing.assert_allclose(of(objective, same), objective.first_loss, atol=1e-15)
    with pytest.raises(RuntimeError, match="must give a loss of"):
        objective.require_first_loss(one, WEIGHT)


def gradient(objective: Objective, errors: PairErrors) -> Tensor:
    """By the policy's errors, (2, B)."""
    policy = tuple(part.clone().requires_grad_() for part in errors.policy)
    objective.loss(PairErrors(policy, errors.reference, errors.product), WEIGHT).total.sum().backward()
    return torch.stack([part.grad for part in policy])


def test_linear_dpo_has_the_gradient_of_diffusion_dpo_with_another_weight() -> None:
    errors = some_errors()
    ratio = gradient(objective_of("linear_dpo"), errors) / gradient(objective_of("ppd"), errors)
    m = margins(errors)
    expected = np.clip(0.5 - 0.4 * m, 0.001, 0.999) / logistic(-m)
    np.testing.assert_allclose(ratio.numpy(), np.stack([expected, expected]), rtol=1e-10)
    assert {0.001, 0.999} <= set(np.clip(0.5 - 0.4 * m, 0.001, 0.999))


def test_sdpo_scales_the_dispreferred_gradient_alone() -> None:
    errors, objective = some_errors(), objective_of("sdpo")
    ratio = gradient(objective, errors) / gradient(objective_of("ppd"), errors)
    product, preferred = errors.product.numpy(), errors.policy[0].numpy()
    expected = np.where(product > 0, np.minimum(1, 0.4 * preferred / np.abs(product)), 1)
    np.testing.assert_allclose(ratio.numpy(), np.stack([np.ones(B), expected]), rtol=1e-10)
    assert 0 < (expected < 1).sum() < B


@pytest.mark.parametrize("mu", [0.0, 0.5, 1.0])
def test_a_step_of_sdpo_does_not_raise_the_preferred_error(mu: float) -> None:
    """Where the weights are the prediction itself; a step of PPD raises it here."""
    wanted, other = torch.tensor([1.0, 0.0], dtype=torch.float64), torch.tensor([3.0, 0.5], dtype=torch.float64)
    changes = []
    for objective in (objective_of("sdpo", mu=mu), objective_of("ppd")):
        weights = torch.zeros(2, dtype=torch.float64, requires_grad=True)
        a, b = weights - wanted, weights - other
        policy = (a.square().mean()[None], b.square().mean()[None])
        errors = PairErrors(policy, tuple(part.detach() for part in policy), (a * b).mean().detach()[None])
        objective.loss(errors, torch.ones(1, dtype=torch.float64)).total.sum().backward()
        moved = -1e-4 * weights.grad
        first_order = (2 * a / 2).detach() @ moved
        changes.append(first_order.item())
    bound = -1e-4 * 0.5 * mu * a.detach().square().sum().item()  # sigmoid(0) mu |grad A|^2
    assert changes[0] <= bound + 1e-12
    assert changes[1] > 0


def test_a_training_gives_sdpo_the_product_of_the_residuals(monkeypatch: pytest.MonkeyPatch) -> None:
    ours, batch = made(objective_of("sdpo")), tiny.batch(COUNT)
    seen: list[PairErrors] = []
    loss = SDPO.loss
    monkeypatch.setattr(SDPO, "loss", lambda self, errors, weight: seen.append(errors) or loss(self, errors, weight))
    step(ours, batch)
    drawn = draws_in(ours.draws.of_measurement(batch))
    path, residuals = ours.backbone.diffusion_path, []
    t = ours.objective.t_min + (ours.objective.t_max - ours.objective.t_min) * drawn.t
    for side in ("preferred", "dispreferred"):
        noised = path.add_noise(batch[f"latents_{side}"], drawn.noise_preferred, t)
        with torch.no_grad(), ours.branch.user(batch["user"]):
            answer = predicted(ours.network, noised, t, batch["text"], batch["text_pooled"])
        residuals.append((answer - drawn.noise_preferred).double())
    expected = (residuals[0] * residuals[1]).mean((1, 2, 3))
    torch.testing.assert_close(seen[0].product.double(), expected, rtol=1e-3, atol=1e-5)
    assert not seen[0].product.requires_grad
    assert 0 <= ours.logged["train/scale_dispreferred"] <= 1


def test_mapo_sees_both_images_and_no_reference(monkeypatch: pytest.MonkeyPatch) -> None:
    forwards, backbone = [], type(tiny.backbone())
    predict = backbone.predict
    monkeypatch.setattr(backbone, "predict", lambda *given: forwards.append(len(given[2])) or predict(*given))
    ours = made(objective_of("mapo"))
    step(ours, tiny.batch(COUNT))
    assert forwards == [2 * COUNT]
    assert set(ours.logged) == {f"train/{name}" for name in ours._figures}


@pytest.mark.parametrize("null", ["zero", "learned"])
def test_a_training_step_of_dispersion_is_one_of_ppd_and_the_distances(null: str) -> None:
    batch = tiny.batch(COUNT) | {"others": tiny.others(COUNT, OTHERS)}
    ours = made(objective_of("dispersion", dispersion_weight=0.7, dispersion_scale=0.3), null=null)
    loss, gradients = step(ours, batch)
    plain, of_ppd = step(made(null=null), batch)

    own, others = (ours.branch.tokens(users).detach() for users in (batch["user"], batch["others"].flatten(0, 1)))
    values = [weights.to_v.weight.detach().double() for weights in ours.branch.blocks]
    squares = torch.zeros(COUNT, OTHERS, dtype=torch.float64)
    for weight in values:
        difference = (own.double() @ weight.T)[:, None] - (others.double() @ weight.T).unflatten(0, (COUNT, OTHERS))
        squares += difference.square().mean((2, 3)) / len(values)
    distances = squares.sqrt()
    expected = 0.7 * (torch.exp(-distances / 0.3).mean(1)).log().mean()
    torch.testing.assert_close(loss.double() - plain.double(), expected, rtol=1e-4, atol=1e-6)
    torch.testing.assert_close(ours.logged["train/distance"].double(), distances.mean(), rtol=1e-4, atol=1e-6)
    changed = {name for name, gradient in gradients.items() if not torch.equal(gradient, of_ppd[name])}
    assert changed == {name for name in gradients if "to_v" in name or name == "projection.weight"}


def test_a_weight_of_zero_is_ppd_to_the_bit() -> None:
    batch = tiny.batch(COUNT) | {"others": tiny.others(COUNT, OTHERS)}
    loss, gradients = step(made(objective_of("dispersion", dispersion_weight=0.0)), batch)
    plain, of_ppd = step(made(), batch)
    assert torch.equal(loss, plain)
    assert all(torch.equal(gradient, of_ppd[name]) for name, gradient in gradients.items())


def test_a_new_branch_is_at_no_distance_and_leaves_it() -> None:
    batch = tiny.batch(COUNT) | {"others": tiny.others(COUNT, OTHERS)}
    ours = made(objective_of("dispersion"), trained=False)
    optimizer, distances = ours.configure_optimizers()["optimizer"], []
    for _ in range(3):
        _, gradients = step(ours, batch)
        assert all(gradient.isfinite().all() for gradient in gradients.values())
        distances.append(ours.logged["train/distance"].item())
        optimizer.step()
    assert distances[0] == 0
    assert distances == sorted(set(distances))


def test_dispersion_needs_somebody_to_compare_with() -> None:
    with pytest.raises(ValueError, match="a training batch needs others"):
        step(made(objective_of("dispersion")), tiny.batch(COUNT))


def test_settings_that_would_teach_nothing_are_refused() -> None:
    for option, key in (("cdpo", "label_smoothing"), ("linear_dpo", "floor")):
        with pytest.raises(UserError, match=rf"objective\.{key}: must be below 0\.5"):
            compose([f"objective={option}", f"objective.{key}=0.5"])


def test_the_sweep_of_objectives_has_all_that_describe_people_apart() -> None:
    file = Path(__file__).parents[2] / "conf/sweep/objectives.yaml"
    swept = OmegaConf.load(file).hydra.sweeper.params.objective.split(",")
    assert set(swept) == set(SHIPPED) - {"diffusion_dpo"}
    for name in swept:
        assert compose([f"objective={name}"]).objective.name == name
