"""The early stages of EfficientNet-Lite0, with weights from anywhere; `ppd export` carries them with their weights.

B = images of a batch, N = pictures, F = features.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from ppd_lightning.errors import UserError
from ppd_lightning.storage.fingerprints import file_sha256
from ppd_lightning.users.choice_features import PictureEncoder, encode_pictures, moments
from ppd_lightning.users.efficientnet_lite0 import EarlyStages

CARRIED = "encoder.safetensors"
"""The file of an export with the weights of these stages."""


def encoder_of(stages: EarlyStages) -> Callable[[Tensor], Tensor]:
    """Images (B, 3, H, W) float in [0, 1] to features (B, F): moments of the maps after the stem and each stage."""

    @torch.no_grad()
    def encode(images: Tensor) -> Tensor:
        return torch.cat([moments(maps) for maps in stages(images * 2 - 1)], dim=1)

    return encode


def carried_encoder(
    folder: Path, base: object, at: str | None, *, size: int, sha256: str, seen_by: str
) -> tuple[PictureEncoder, str]:
    """See `rewards.encoder_code.EncoderCode.opens`.

    Args:
        at: the file, if it is not `folder`/encoder.safetensors.
        size: side in pixels to which pictures are brought.
        sha256: of the file.
        seen_by: `UserKind.seen_by` of the training.

    Raises:
        UserError: the file is missing or another one.
    """
    file = folder / CARRIED if at is None else Path(at)
    try:
        found = file_sha256(file)
        if found != sha256:
            raise UserError(f"{file}: not the file that this was given away with; fetch it again")
        stages = EarlyStages()
        stages.load_state_dict(load_file(file))
    except (OSError, SafetensorError) as error:
        raise UserError(f"{file}: missing or damaged ({error}); fetch it again") from None
    return partial(encode_pictures, encoder_of(stages), size), seen_by
