"""The vision tower of an open_clip model without a reward's settings: `ppd export` carries this.

B = batch, H, W = height and width of what the tower sees, N = pictures, F = features.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import cached_property, partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from ppd_lightning.errors import UserError
from ppd_lightning.rewards.open_clip_model import OpenClipModel
from ppd_lightning.rewards.picture_features import features_of_pictures
from ppd_lightning.rewards.readable import readable
from ppd_lightning.rewards.sources import Role, role_faults, role_files, role_location
from ppd_lightning.storage.fingerprints import file_sha256, fingerprint

CARRIED = "encoder"
"""The folder of an export with the model's files, where these go along."""


class OpenClipTower:
    """A vision tower on the CPU, loaded once, at the first use.

    Args:
        files: of the model, the weights last.
        architecture: open_clip's name of it, where a configuration is not among the files.
    """

    def __init__(self, files: Sequence[Path], architecture: str) -> None:
        self.files, self.architecture = files, architecture

    def preprocess(self, picture: Image.Image) -> np.ndarray:
        """See `Tower`."""
        return self.model.transform.preprocess(readable(picture))

    def image_features(self, pixels: Tensor) -> Tensor:
        """See `Tower`; features (B, F) of length 1."""
        return self.model.image_features(self._network, pixels, torch.device("cpu"), torch.float32)

    @cached_property
    def model(self) -> OpenClipModel:
        """What is known of the network before it is loaded."""
        if self.architecture:
            return OpenClipModel.of_architecture(self.architecture)
        return OpenClipModel.of_folder(self.files[0].parent)

    @cached_property
    def _network(self) -> Any:
        return self.model.load(self.files[-1], torch.float32)


def open_clip_encoder(
    folder: Path,
    base: object,
    at: str | None,
    *,
    location: str | None,
    role: Mapping[str, Any],
    sha256: Sequence[str],
    architecture: str,
    seen_by: str,
) -> tuple[Callable[[Sequence[Image.Image]], np.ndarray], str]:
    """See `encoder_code.EncoderCode.opens`.

    Args:
        location: of the files, where `at` is None: a name on the model hub, or None where each machine has its own.
        role: the fields of the `Role` that the files have.
        sha256: of the training's files.
        seen_by: `UserKind.seen_by` of the training.

    Raises:
        UserError: files are missing or damaged.
    """
    files, key = Role(**role), "--encoder"
    carried = folder / CARRIED
    where = at or (str(carried) if carried.is_dir() else location)
    if where is None:
        raise UserError(f"{key}: name the file or folder by which the training saw pictures: {files.described}")
    faults = role_faults(key, where, files)
    if faults:
        raise UserError(faults)
    paths = role_files(role_location(key, where, files), files)
    found = [file_sha256(path) for path in paths]
    encode = partial(features_of_pictures, OpenClipTower(paths, architecture))
    return encode, seen_by if found == list(sha256) else fingerprint(found)
