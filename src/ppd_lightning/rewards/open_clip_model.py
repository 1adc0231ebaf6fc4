"""The models of open_clip, made and loaded from files.

B = batch, L = tokens, H, W = height and width, D = width of the features.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import open_clip
import torch
from open_clip.model import convert_to_custom_text_state_dict
from open_clip.transform import PreprocessCfg, merge_preprocess_dict
from torch import Tensor, nn
from torch.nn import functional as F

from ppd_lightning.backbones.files import read_json
from ppd_lightning.backbones.weights import load_weights
from ppd_lightning.errors import UserError
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

    @torch.no_grad()
    def image_features(self, network: Any, pixels: Tensor, device: torch.device, dtype: torch.dtype) -> Tensor:
        """Preprocessed pictures (B, 3, H, W) to features (B, D) of length 1, float32, by the network on the device."""
        seen = self.transform.normalise(pixels, device, dtype)
        return F.normalize(network.encode_image(seen).float(), dim=-1)

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


def _line(error: Exception) -> str:
    return " ".join(str(error).split())
