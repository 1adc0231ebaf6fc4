"""A step waits for nothing between the arrival of its batch and the end of its backward."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from tests import tiny
from tests.training.objectives import objective as objective_of
from tests.training.test_module import made, step
from tests.waiting import nothing_waits, on_meta, without_autocast
from torch import Tensor

from ppd_lightning.training.objectives.objective import Objective
from ppd_lightning.training.pair_draws import COUNT


@pytest.mark.parametrize(
    ("null", "settings"),
    [
        ("learned", {}),
        ("zero", {"share_noise": False, "weighting": "adaptive", "sft_weight": 0.1}),
        ("zero", {"name": "sft"}),
    ],
)
def test_a_step_waits_for_nothing(null: str, settings: dict[str, Any]) -> None:
    ours = made(objective_of(**settings, drop_user=0.3), null=null)
    batch = on_meta(ours.draws.complete(tiny.batch(6)))
    ours.to("meta")
    with without_autocast():
        ours.training_step(batch, 0)  # the weights over time are copied once
        with nothing_waits():
            ours.training_step(batch, 0).backward()
            ours.on_after_backward()


def number(loss: Tensor) -> Tensor:
    return loss * loss.detach().new_tensor(2.0)


def read(loss: Tensor) -> Tensor:
    return loss * loss.detach().sum().item()


def mask(loss: Tensor) -> Tensor:
    return loss[loss > 0].sum()


def copied(loss: Tensor) -> Tensor:
    return loss * torch.ones(6).to(loss.device).sum()


@pytest.mark.parametrize("waits", [number, read, mask, copied])
def test_what_waits_is_found(waits: Callable[[Tensor], Tensor], monkeypatch: pytest.MonkeyPatch) -> None:
    ours = made()
    batch = on_meta(ours.draws.complete(tiny.batch(6)))
    ours.to("meta")
    ours.time_weight.weights = ours.time_weight.weights.to("meta")
    whole = Objective.training_loss

    def slow(*args: Any) -> Any:
        loss = whole(*args)
        return type(loss)(waits(loss.total), loss.figures)

    monkeypatch.setattr(Objective, "training_loss", slow)
    with without_autocast(), pytest.raises((AssertionError, RuntimeError)), nothing_waits():
        ours.training_step(batch, 0)


@pytest.mark.parametrize("null", ["zero", "learned"])
@pytest.mark.parametrize("name", ["ppd", "sft"])
def test_draws_made_ahead_are_those_of_the_step_to_the_bit(name: str, null: str) -> None:
    objective, batch = objective_of(name, drop_user=0.4, share_noise=False), tiny.batch(8)
    ours, ahead = made(objective, null=null), made(objective, null=null)
    loss, gradients = step(ours, batch)
    stays = ahead.draws.stays(batch["epoch"], batch["pair"])
    assert (null == "zero") == (not stays.all())
    drawn = ahead.draws.of_training({key: value[stays] for key, value in batch.items()}, 8)
    assert ("noise_dispreferred" in drawn) == (name == "ppd")
    assert drawn[COUNT] == 8
    again, others = step(ahead, drawn)
    assert torch.equal(loss, again)
    assert all(torch.equal(gradient, others[key]) for key, gradient in gradients.items())
    assert ours.logged == ahead.logged
