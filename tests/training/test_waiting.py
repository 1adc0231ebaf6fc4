"""A step waits for nothing between the arrival of its batch and the end of its backward."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pyarrow as pa
import pytest
import torch
from tests import tiny
from tests.training.objectives import objective as objective_of
from tests.training.test_module import made, step
from tests.waiting import copied_ahead, nothing_waits, on_meta, without_autocast
from torch import Tensor

from ppd_lightning.backbones.cascade import text
from ppd_lightning.training import caption_states
from ppd_lightning.training.caption_states import CaptionStates
from ppd_lightning.training.data_module import PreferenceDataModule
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


def test_nor_does_one_that_computes_its_text_states(monkeypatch: pytest.MonkeyPatch) -> None:
    for module in (text, caption_states):
        monkeypatch.setattr(module, "copied_ahead", copied_ahead)
    ours, captions = made(), pa.chunked_array([["a red fox", "a"], ["a tree in the snow"]])
    ours.text = CaptionStates(captions, text.TextStates(tiny.tokenizer(), tiny.text_encoder().to("meta")))
    batch = {name: part for name, part in tiny.batch(6).items() if not name.startswith("text")}
    batch = ours.draws.complete(batch | {"caption": torch.tensor([2, 0, 1, 1, 2, 0])})
    ours.to("meta")
    batches: Any = PreferenceDataModule(None, None)  # type: ignore[arg-type]
    batch = batches.transfer_batch_to_device(batch, torch.device("meta"), 0)
    assert batch["caption"].device.type == "cpu"
    with without_autocast():
        ours.training_step(dict(batch), 0)
        with nothing_waits():
            ours.training_step(batch, 0).backward()
            ours.on_after_backward()


def test_text_states_are_those_of_the_encoders_own_mask_to_the_bit() -> None:
    tokenizer, encoder = tiny.tokenizer(), tiny.text_encoder()
    states = text.TextStates(tokenizer, encoder)
    for captions in (["a", "a red fox in the snow"], ["a red fox in the snow"] * 2):
        tokens = tokenizer(captions, padding="max_length", max_length=8, truncation=True, return_tensors="pt")
        expected = encoder(**tokens, output_hidden_states=True)
        assert torch.equal(states(captions)["text"], expected.hidden_states[-1])
        assert torch.equal(states(captions)["text_pooled"], expected.text_embeds[:, None])


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
