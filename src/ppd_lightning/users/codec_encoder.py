"""The model's own codec as what sees pictures; `ppd export` carries this.

B = images of a batch, N = pictures, F = features.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from functools import partial
from pathlib import Path

import torch
from torch import Tensor, nn

from ppd_lightning.backbones.interfaces import Base, Codec
from ppd_lightning.errors import UserError
from ppd_lightning.users.choice_features import PictureEncoder, encode_pictures, moments


def encoder_of(codec: Codec) -> Callable[[Tensor], Tensor]:
    """Images (B, 3, H, W) float in [0, 1] to features (B, F): moments of their latents."""

    @torch.no_grad()
    def encode(images: Tensor) -> Tensor:
        return moments(codec.encode(images))

    return encode


def weights_sha256(codec: Codec) -> str:
    """64 hex digits of the weights of a codec that is one network; counters of its training do not count.

    Raises:
        UserError: it is something else.
    """
    if not isinstance(codec, nn.Module):
        raise UserError(f"{type(codec).__name__}: a codec of several networks")
    digest = hashlib.sha256()
    for name, tensor in sorted(codec.state_dict().items()):
        if tensor.is_floating_point():
            digest.update(name.encode() + tensor.detach().cpu().float().numpy().tobytes())
    return digest.hexdigest()


def codec_encoder(
    folder: Path, base: Base, at: str | None, *, size: int, sha256: str, seen_by: str
) -> tuple[PictureEncoder, str]:
    """See `rewards.encoder_code.EncoderCode.opens`; the codec is the base's, wherever `at` is.

    Args:
        size: side in pixels to which pictures are brought.
        sha256: `weights_sha256` of the training's codec.
        seen_by: `UserKind.seen_by` of the training.
    """
    codec = base.load_codec("cpu", "encoder")
    found = weights_sha256(codec)
    return partial(encode_pictures, encoder_of(codec), size), seen_by if found == sha256 else found[:12]
