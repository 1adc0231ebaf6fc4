"""Aesthetic is the published head on open_clip's own features of the same weights."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import open_clip
import pytest
import torch
from tests.rewards import tiny_rewards as made

from ppd_lightning.errors import UserError
from ppd_lightning.rewards.aesthetic import AestheticReward


def test_scores_equal_the_published_formula_in_float64(tmp_path: Path) -> None:
    reward, pictures = made.aesthetic(tmp_path), made.pictures()
    model, transform = open_clip.create_model_from_pretrained(f"local-dir:{tmp_path / 'tower'}")
    seen = torch.stack([transform(made.eight_bits(picture)) for picture in pictures.values()])
    with torch.no_grad():
        found = model.double().encode_image(seen.double()).numpy()
    expected = found / np.linalg.norm(found, axis=1, keepdims=True)
    head = torch.load(tmp_path / "head.pth")
    for place in (0, 2, 4, 6, 7):
        expected = expected @ head[f"layers.{place}.weight"].double().numpy().T
        expected = expected + head[f"layers.{place}.bias"].double().numpy()
    ours = reward.score(list(pictures.values()), [""] * len(pictures))
    np.testing.assert_allclose(ours.numpy(), expected[:, 0], rtol=2e-4, atol=2e-4)
    assert ours.std() > 0.1


def test_the_caption_does_not_count(tmp_path: Path) -> None:
    reward, picture = made.aesthetic(tmp_path), made.pictures()["RGB"]
    assert not reward.needs_captions
    assert len(set(reward.score([picture] * 3, ["", "a cat", made.LONG]).tolist())) == 1


def test_the_published_tower_is_openais_vit_l_14() -> None:
    reward = AestheticReward("a", {"model": "file", "head": "file"}, architecture="ViT-L-14-quickgelu")
    assert reward.model.network["embed_dim"] == 768
    assert reward.model.network["quick_gelu"]


def test_a_tower_with_other_activations_is_refused(tmp_path: Path) -> None:
    """Its scores would look right and be wrong."""
    made.aesthetic(tmp_path)
    made.open_clip_folder(tmp_path / "tower", quick_gelu=False)
    weights = {"model": str(tmp_path / "tower"), "head": str(tmp_path / "head.pth")}
    with pytest.raises(UserError, match=r"tower/open_clip_config\.json: a network without quick_gelu"):
        AestheticReward("aesthetic", weights).preprocess(made.pictures()["RGB"])
    with pytest.raises(UserError, match=r"rewards\.a\.options\.architecture: a network without quick_gelu"):
        _ = AestheticReward("a", weights, architecture="ViT-L-14").model
