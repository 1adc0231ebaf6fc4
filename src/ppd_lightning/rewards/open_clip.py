"""Rewards of open_clip's image-text models: how alike an image and its caption are.

B = batch, H, W = height and width, D = width of the features.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import open_clip
import torch
from PIL import Image
from torch import Tensor, nn
from torch.nn import functional as F

from ppd_lightning.errors import UserError
from ppd_lightning.rewards.encoder_code import EncoderCode
from ppd_lightning.rewards.open_clip_encoder import CARRIED
from ppd_lightning.rewards.open_clip_model import FILES, LAYOUT, OpenClipModel
from ppd_lightning.rewards.readable import readable
from ppd_lightning.rewards.reward import Reward, distinct, require_captions
from ppd_lightning.rewards.settings import Option
from ppd_lightning.rewards.sources import SHIPPED, Role

CARRIED_MODULES = (
    "ppd_lightning.backbones.files",
    "ppd_lightning.backbones.weights",
    "ppd_lightning.rewards.open_clip_encoder",
    "ppd_lightning.rewards.open_clip_model",
    "ppd_lightning.rewards.picture_features",
    "ppd_lightning.rewards.readable",
    "ppd_lightning.rewards.sources",
    "ppd_lightning.rewards.transform",
)
"""The modules that an export carries whose users a model of open_clip sees."""


def whole_model(origin: str, size: str, licence: str) -> Role:
    """The role of an open_clip model: a folder in its layout."""
    return Role(LAYOUT, origin, size, licence, remedy="or name the file's architecture in options, such as ViT-H-14")


class OpenClipBased(Reward):
    """What sees through an open_clip model, the role `model`.

    Args:
        architecture: of weights.model where that is a file, such as ViT-H-14; else it has open_clip's configuration.

    Raises:
        UserError: see Reward; or open_clip knows no such architecture.
    """

    def __init__(
        self,
        name: str,
        weights: Mapping[str, str],
        *,
        device: torch.device | str = "cpu",
        dtype: torch.dtype = torch.float32,
        architecture: str = "",
        **options: Option,
    ) -> None:
        if architecture and open_clip.get_model_config(architecture) is None:
            raise UserError(
                f"rewards.{name}.options.architecture: open_clip knows no {architecture!r}; "
                "expected one of open_clip.list_models(), such as ViT-H-14"
            )
        if architecture and not self.roles["model"].single:
            ways = tuple((file,) for file in FILES)
            self.roles = {**self.roles, "model": replace(self.roles["model"], ways=ways, single=True)}
        self.architecture = architecture
        super().__init__(name, weights, device=device, dtype=dtype, architecture=architecture, **options)

    @cached_property
    def model(self) -> OpenClipModel:
        """What is known of the network before it is loaded."""
        if self.architecture:
            return OpenClipModel.of_architecture(self.architecture)
        return OpenClipModel.of_folder(self.paths("model")[0].parent)

    def preprocess(self, picture: Image.Image) -> np.ndarray:
        """See Reward."""
        return self.model.transform.preprocess(readable(picture))


class OpenClipReward(OpenClipBased):
    """100 cos(image, caption), of any open_clip model."""

    roles = {"model": whole_model("laion/CLIP-ViT-H-14-laion2B-s32B-b79K on the model hub", "3.9 GB", "MIT")}

    def load(self) -> nn.Module:
        """See Reward."""
        network: nn.Module = self.model.load(self.paths("model")[-1], self.dtype)
        return network

    @torch.no_grad()
    def image_features(self, pixels: Tensor) -> Tensor:
        """Pixels to features (B, D) of length 1."""
        return self.model.image_features(self.network, pixels, self.device, self.dtype)

    @torch.no_grad()
    def scores(self, features: Tensor, captions: Sequence[str]) -> Tensor:
        """See Reward."""
        require_captions(self.name, captions)
        network: Any = self.network
        texts, places = distinct(captions)
        words = F.normalize(network.encode_text(self._tokenizer(texts).to(self.device)).float(), dim=-1)
        return 100 * (features.to(self.device).float() * words[places]).sum(-1)

    @cached_property
    def _tokenizer(self) -> Callable[[list[str]], Tensor]:
        return self.model.tokenizer()

    def encoder_code(self, seen_by: str) -> EncoderCode | None:
        """See Reward: the model's files go along where they ship with this package, and are named where they do not."""
        if type(self) is not OpenClipReward:
            return None
        paths, location = self.paths("model"), self.weights["model"]
        shipped, local = location.startswith(SHIPPED), Path(location).expanduser().exists()
        role = self.roles["model"]
        settings = {
            "location": None if shipped or local else location,
            "role": asdict(role),
            "sha256": [self.sha256[str(path)] for path in paths],
            "architecture": self.architecture,
            "seen_by": seen_by,
        }
        words = "the open_clip model in `encoder/`, which goes along"
        if local:
            words = "the open_clip model that `--encoder` names, a file or folder of one's own"
        elif not shipped:
            words = f"the open_clip model `{location}` on the model hub (`--encoder` names a copy of it)"
        return EncoderCode(
            modules=CARRIED_MODULES,
            opens="ppd_lightning.rewards.open_clip_encoder.open_clip_encoder",
            words=words,
            settings=settings,
            files={f"{CARRIED}/{path.name}": path.read_bytes() for path in paths} if shipped else {},
            packages=("open_clip_torch",),
        )
