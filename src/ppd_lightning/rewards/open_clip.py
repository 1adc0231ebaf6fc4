"""Rewards of open_clip's image-text models: how alike an image and its caption are.

B = batch, H, W = height and width, D = width of the features.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import open_clip
import torch
from open_clip.model import convert_to_custom_text_state_dict
from open_clip.transform import PreprocessCfg, merge_preprocess_dict
from PIL import Image
from torch import Tensor, nn
from torch.nn import functional as F

from ppd_lightning.backbones.files import read_json
from ppd_lightning.backbones.weights import load_weights
from ppd_lightning.errors import UserError
from ppd_lightning.rewards.reward import Reward, distinct, readable, require_captions
from ppd_lightning.rewards.settings import Option
from ppd_lightning.rewards.sources import Role
from ppd_lightning.rewards.transform import Transform

CONFIG = "open_clip_config.json"
FILES = ("open_clip_model.safetensors", "open_clip_pytorch_model.bin")
LAYOUT = tuple((CONFIG, file) for file in FILES)
"""A folder as open_clip writes it and as the model hub has it."""


@dataclass(frozen=True)
class OpenClipModel:
    """One of open_clip's models: how it is made, what it sees and how it reads captions.

    network: open_clip's `model_cfg`. transform: how pictures are brought to it. words: what its tokenizer is found by.
    """

    network: dict[str, Any]
    transform: Transform
    words: str

    @classmethod
    def of_folder(cls, folder: Path) -> OpenClipModel:
        """The model of a folder in open_clip's layout.

        Raises:
            UserError: its configuration is damaged, or of something else.
        """
        file = folder / CONFIG
        stored = read_json(file)
        try:
            network = stored["model_cfg"]
            seen = merge_preprocess_dict(PreprocessCfg(), stored.get("preprocess_cfg", {}))
            seen["size"] = network["vision_cfg"].get("image_size", seen["size"])
            model = cls(network, Transform(PreprocessCfg(**seen)), f"local-dir:{folder}")
            with torch.device("meta"):
                model.make()
        except Exception as error:  # whatever a configuration of something else leads to
            raise UserError(f"{file}: no configuration of an open_clip model ({_line(error)})") from None
        return model

    @classmethod
    def of_architecture(cls, name: str) -> OpenClipModel:
        """A model that open_clip knows by name, with OpenAI's mean and deviation, as open_clip does it for a file."""
        network = open_clip.get_model_config(name)
        seen = asdict(PreprocessCfg()) | {"size": network["vision_cfg"]["image_size"]}
        return cls(network, Transform(PreprocessCfg(**seen)), name)

    def make(self) -> nn.Module:
        """The network, without its weights; the class is chosen as open_clip chooses it."""
        settings = dict(self.network)
        vision, text = dict(settings.pop("vision_cfg")), dict(settings.pop("text_cfg"))
        from_hub = "hf_model_name" in text
        custom = settings.pop("custom_text", False) or from_hub
        kind: Callable[..., nn.Module] = open_clip.CLIP
        if custom:
            kind = open_clip.CoCa if "multimodal_cfg" in settings else open_clip.CustomTextCLIP
        if "timm_model_name" in vision:
            vision["timm_model_pretrained"] = False
        if from_hub:
            text["hf_model_pretrained"] = False
        return kind(vision_cfg=vision, text_cfg=text, **settings)

    def load(self, file: Path, dtype: torch.dtype) -> Any:
        """The network with its weights.

        Raises:
            UserError: they are damaged, or those of another network.
        """
        return load_weights(self.make, file, convert=self._convert, dtype=dtype, pickles=True)

    def tokenizer(self) -> Callable[[list[str]], Tensor]:
        """Captions (B) to tokens (B, L); what is too long is cut, and the last token says that the caption ends.

        Raises:
            UserError: its files are missing.
        """
        try:
            tokenizer: Callable[[list[str]], Tensor] = open_clip.get_tokenizer(self.words)
        except Exception as error:  # of the hub's client, of tokenizers, of files
            raise UserError(f"{self.words}: open_clip finds no tokenizer for it ({_line(error)})") from None
        return tokenizer

    def _convert(self, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
        """Names as training on several devices and older versions of open_clip wrote them."""
        tensors = {
            name.removeprefix("module."): tensor
            for name, tensor in tensors.items()
            if not name.endswith(".position_ids")
        }
        if self.network.get("custom_text") or "hf_model_name" in self.network["text_cfg"]:
            tensors = convert_to_custom_text_state_dict(tensors)
        return tensors


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
        network: Any = self.network
        seen = self.model.transform.normalise(pixels, self.device, self.dtype)
        return F.normalize(network.encode_image(seen).float(), dim=-1)

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


def _line(error: Exception) -> str:
    return " ".join(str(error).split())
