"""PickScore is what its model card computes with transformers' own model and processor."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from tests import tiny
from tests.rewards import tiny_rewards as made
from transformers import CLIPModel, CLIPProcessor, CLIPTokenizer
from transformers.models.clip.image_processing_pil_clip import CLIPImageProcessorPil

from ppd_lightning.rewards.pickscore import PickScoreReward


def test_scores_equal_the_model_cards_computation(tmp_path: Path) -> None:
    reward, pictures = made.pickscore(tmp_path), made.pictures()
    captions = [made.CAPTIONS[place % len(made.CAPTIONS)] for place in range(len(pictures))]
    model = CLIPModel.from_pretrained(tmp_path / "pick").eval()
    folder = tmp_path / "processor"
    processor = CLIPProcessor(CLIPImageProcessorPil.from_pretrained(folder), CLIPTokenizer.from_pretrained(folder))
    expected = []
    for picture, caption in zip(pictures.values(), captions, strict=True):
        limits = {"padding": True, "truncation": True, "max_length": tiny.TEXT_LENGTH, "return_tensors": "pt"}
        seen = processor(images=made.eight_bits(picture).convert("RGB"), return_tensors="pt")
        with torch.no_grad():
            image = model.get_image_features(**seen).pooler_output
            text = model.get_text_features(**processor(text=caption, **limits)).pooler_output
        image, text = image / image.norm(dim=-1, keepdim=True), text / text.norm(dim=-1, keepdim=True)
        expected.append((model.logit_scale.exp() * text @ image.T).item())
    ours = reward.score(list(pictures.values()), captions)
    torch.testing.assert_close(ours, torch.tensor(expected), atol=2e-4, rtol=1e-5)
    assert ours.std() > 0.1


def test_the_scale_is_the_models_own_also_in_bf16(tmp_path: Path) -> None:
    """Rounded to bf16, exp(logit scale) would be 1 % off, and so would every margin."""
    network = made.pickscore(tmp_path, dtype=torch.bfloat16).network
    assert network.logit_scale.dtype == torch.float32
    assert network.logit_scale.exp().item() == pytest.approx(1 / 0.07, rel=1e-3)
    assert network.visual_projection.weight.dtype == torch.bfloat16


def test_a_pickle_with_counted_positions_serves_as_well(tmp_path: Path) -> None:
    reward, pictures = made.pickscore(tmp_path), list(made.pictures().values())[:3]
    expected = reward.score(pictures, made.CAPTIONS[:3])
    positions = {"text_model.embeddings.position_ids": torch.arange(8)[None]}
    torch.save({**reward.network.state_dict(), **positions}, tmp_path / "pick/pytorch_model.bin")
    (tmp_path / "pick/model.safetensors").unlink()
    again = PickScoreReward("pickscore", reward.weights)
    assert torch.equal(again.score(pictures, made.CAPTIONS[:3]), expected)
