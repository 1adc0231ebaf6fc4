"""The UNet of `experiments/emoji/backbones`, from outside of the package: it opens, and takes a user branch."""

from __future__ import annotations

import dataclasses
import shutil
import sys
from pathlib import Path

import pytest
import torch
from diffusers import UNet2DConditionModel

from ppd_lightning.backbones.backbone import Backbone
from ppd_lightning.config.compose import compose
from ppd_lightning.errors import UserError
from ppd_lightning.worlds.emoji.model import ASSETS

STUDIES = Path(__file__).parents[3] / "experiments/emoji"


@pytest.fixture
def model(monkeypatch: pytest.MonkeyPatch) -> Backbone:
    for folder in ("base", "backbones"):
        monkeypatch.syspath_prepend(STUDIES / folder)
    yield compose(["experiment=emoji/unet"], STUDIES / "backbones/conf").model
    for name in ("unet", "latents", "make", "emoji_unet"):
        sys.modules.pop(name, None)


@pytest.fixture
def made(model: Backbone, tmp_path: Path) -> Backbone:
    """With the folder that the recipe writes, its network untrained."""
    import unet

    network: UNet2DConditionModel = unet.make_unet()
    network.conv_out.reset_parameters()
    network.to(torch.bfloat16).save_pretrained(tmp_path / "unet")
    for part in ("codec", "text_encoder", "tokenizer"):
        shutil.copytree(ASSETS / part, tmp_path / part)
    return dataclasses.replace(model, path=str(tmp_path))


def test_its_branch_changes_what_it_predicts_for_a_user_and_nothing_else(made: Backbone) -> None:
    network = made.load_network()
    noised, t = torch.randn(2, *made.latent_shape(64)), torch.tensor([0.2, 0.9])
    conditions = made.load_text()(["red apple", "sun"])
    with torch.no_grad():
        stock = made.predict(network, noised, t, conditions)
        branch = made.attach(network, 8)
        for weights in branch.parameters():
            torch.nn.init.normal_(weights, std=0.5)
        with branch.user(torch.tensor([[0.0] * 8, [1.0] * 8])):
            predicted = made.predict(network, noised, t, conditions)
    assert stock.shape == noised.shape
    assert torch.equal(predicted[0], stock[0])
    assert not torch.allclose(predicted[1], stock[1], atol=1e-3)


def test_nothing_ships_for_it(model: Backbone) -> None:
    with pytest.raises(UserError, match="ships with no weights"):
        dataclasses.replace(model, path=None).load_network()
