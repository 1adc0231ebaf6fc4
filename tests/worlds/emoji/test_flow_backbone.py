"""The flow model that ships: it shares the other base's files, stays small, and draws what captions name."""

from __future__ import annotations

import dataclasses

import pytest
import torch
from tests import tiny

from ppd_lightning.config.compose import compose
from ppd_lightning.errors import UserError
from ppd_lightning.generation.pipeline import Guidance, UserPipeline
from ppd_lightning.worlds.emoji.concepts import shipped_concepts
from ppd_lightning.worlds.emoji.flow_backbone import EmojiFlowBackbone
from ppd_lightning.worlds.emoji.judges import load_judge
from ppd_lightning.worlds.emoji.model import ASSETS, SHARED_PARTS

BYTES = 6_000_000


@pytest.fixture(scope="module")
def model() -> EmojiFlowBackbone:
    return compose(["experiment=emoji/flow"]).model


def test_all_but_the_network_are_the_files_of_the_other_base(model: EmojiFlowBackbone) -> None:
    assert model.faults() == []
    assert all(model.files(part) == tiny.backbone().files(part) for part in SHARED_PARTS)
    assert set(model.parts) - set(SHARED_PARTS) == {"prior"}


def test_what_ships_for_it_is_small() -> None:
    assert sum(file.stat().st_size for file in (ASSETS / "transformer").iterdir()) < BYTES


def test_it_draws_what_captions_name(model: EmojiFlowBackbone) -> None:
    concepts, judge = shipped_concepts(12), load_judge("concepts")
    pipeline = UserPipeline.of(model, model.load_network(), None, image_size=64)
    drawn = pipeline(concepts, None, [3] * len(concepts), steps=6, guidance=Guidance(text=3.0))
    columns = [judge.labels.index(name) for name in shipped_concepts(100)]
    named = judge.probabilities(drawn)[:, columns].argmax(1)
    assert (named == torch.arange(len(concepts))).float().mean() > 0.8


def test_pictures_are_whole_tokens(model: EmojiFlowBackbone) -> None:
    assert list(model.contradictions_with(64)) == []
    (fault,) = model.contradictions_with(72)
    assert "multiple of 16" in fault


def test_another_shift_is_another_model_to_stored_references(model: EmojiFlowBackbone) -> None:
    other = dataclasses.replace(model, shift=1.0)
    assert other.prediction_settings() != model.prediction_settings()
    middle = torch.tensor([0.5])
    assert other.diffusion_path.sigma(middle) < model.diffusion_path.sigma(middle)


def test_the_other_bases_folder_is_named_by_what_it_lacks(tmp_path, model: EmojiFlowBackbone) -> None:
    tiny.model_folder(tmp_path)
    with pytest.raises(UserError, match=r"lacks transformer/config\.json and transformer/"):
        dataclasses.replace(model, path=str(tmp_path)).load_network()
