"""`user=clip`: means of CLIP's image features of the preferred images, and of their differences to the others.

B = images, D = width of CLIP's features, R = sets of shots, E = width of an embedding.
"""

from __future__ import annotations

import importlib.resources
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import torch
from torch import Tensor
from torch.nn import functional as F

from ppd_lightning.config.schemas import ClipUser, Config
from ppd_lightning.models.devices import compute_device
from ppd_lightning.models.parts import Part, absent, find, local_folder, pickled
from ppd_lightning.models.released import ReleasedModel
from ppd_lightning.models.weights import load_weights
from ppd_lightning.run.errors import UserError
from ppd_lightning.run.fingerprints import file_sha256, fingerprint
from ppd_lightning.users.looking import SeenImages, describe_by_images
from ppd_lightning.users.shots import ShotSet

PART = Part((("open_clip_config.json", "open_clip_model.safetensors"),))
"""A folder as open_clip writes it and as the model hub has it."""

SHIPPED = "shipped:"
"""Begins the place of weights that are among the package's assets."""

MEAN, DEVIATION = (0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)
"""Of the colours that OpenAI's CLIP was trained on, which open_clip takes where a folder names none."""


def describe(config: Config, model: ReleasedModel, pairs: pa.Table, sets: Sequence[ShotSet]) -> np.ndarray:
    """Raw vectors (R, E) of sets of shots; E is 2 D, or user.components of the directions in which users differ.

    Raises:
        UserError: CLIP's files or an image of a shot are missing.
    """
    assert isinstance(config.user, ClipUser)
    encoder = ClipImages(config.user.weights, compute_device(config.trainer))
    return describe_by_images(config, pairs, sets, SeenImages(config, encoder), config.user.components)


def seen_with(config: Config, model: ReleasedModel) -> str:
    """What stands for CLIP's files."""
    assert isinstance(config.user, ClipUser)
    return fingerprint([file_sha256(file) for file in _files(config.user.weights)])


def clip_faults(weights: str) -> list[str]:
    """A sentence on what is not there; none where all is."""
    try:
        _files(weights)
    except UserError as error:
        return error.faults
    return []


class ClipImages:
    """CLIP's image half, frozen: images (B, 3, H, W) float in [0, 1] to features (B, D) of length 1, on the CPU.

    Images are brought to the size that CLIP saw, bicubic and antialiased; prepared ones are square already.

    Raises:
        UserError: the files are missing, damaged, or of another network.
    """

    def __init__(self, weights: str, device: torch.device) -> None:
        self.network, self.size, self.mean, self.deviation = _load(*_files(weights))
        self.network, self.device = self.network.to(device), device

    @torch.no_grad()
    def __call__(self, images: Tensor) -> Tensor:
        """See the class."""
        images = images.to(self.device)
        if tuple(images.shape[2:]) != (self.size, self.size):
            images = F.interpolate(images, (self.size, self.size), mode="bicubic", antialias=True).clamp(0, 1)
        mean, deviation = (torch.tensor(one, device=self.device)[:, None, None] for one in (self.mean, self.deviation))
        features: Tensor = F.normalize(self.network((images - mean) / deviation), dim=-1)
        return features.float().cpu()


def _files(weights: str) -> list[Path]:
    if weights.startswith(SHIPPED):
        folder = Path(str(importlib.resources.files("ppd_lightning") / "assets")) / weights.removeprefix(SHIPPED)
    else:
        folder = local_folder("user.weights", weights, [PART])
    lacking = absent(PART, folder)
    if lacking:
        raise UserError(
            "; ".join(
                [
                    f"user.weights: {folder} lacks {' and '.join(lacking)}; give a folder as open_clip writes it, or "
                    "such a repository on the model hub as laion/CLIP-ViT-H-14-laion2B-s32B-b79K (3.9 GB, MIT)",
                    *pickled(lacking, folder),
                ]
            )
        )
    return find(PART, folder)


def _load(file: Path, weights: Path) -> tuple[torch.nn.Module, int, Sequence[float], Sequence[float]]:
    """The image half with its weights, the side of what it sees, and the mean and deviation of its colours."""
    try:
        import open_clip
    except ImportError:
        raise UserError(
            "user=clip: open_clip is not installed; run `pip install 'ppd-lightning[clip]'`, or take user=features"
        ) from None
    try:
        stored: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
        settings, seen = dict(stored["model_cfg"]), stored.get("preprocess_cfg", {})
        size = int(settings["vision_cfg"]["image_size"])
        custom = settings.pop("custom_text", False) or "hf_model_name" in settings["text_cfg"]
        kind = open_clip.CustomTextCLIP if custom else open_clip.CLIP
        with torch.device("meta"):
            kind(**settings)
    except Exception as error:  # whatever a configuration of something else leads to
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise UserError(f"{file}: no configuration of an open_clip model ({reason})") from None
    network: Any = load_weights(lambda: kind(**settings), weights)
    return network.visual, size, seen.get("mean", MEAN), seen.get("std", DEVIATION)
