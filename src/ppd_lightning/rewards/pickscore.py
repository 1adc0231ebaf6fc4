"""PickScore: CLIP ViT-H/14, fine-tuned on Pick-a-Pic's choices.

Source: Kirstain et al., arXiv 2305.01569, and the model card of yuvalkirstain/PickScore_v1.

B = batch, H, W = height and width, D = width of the features.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property, partial
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn
from torch.nn import functional as F
from transformers import CLIPConfig, CLIPModel, CLIPTokenizer
from transformers.models.clip.image_processing_pil_clip import CLIPImageProcessorPil

from ppd_lightning.backbones.files import read_json
from ppd_lightning.backbones.weights import load_weights
from ppd_lightning.errors import UserError
from ppd_lightning.rewards.readable import readable
from ppd_lightning.rewards.reward import Reward, distinct, require_captions
from ppd_lightning.rewards.sources import Role
from ppd_lightning.rewards.transform import normalise

PREPROCESSOR, WORDS = "preprocessor_config.json", "tokenizer_config.json"


class PickScoreReward(Reward):
    """exp(logit scale) cos(image, caption), around 20 to 22, of a CLIP model in transformers' layout."""

    roles = {
        "model": Role(
            tuple(("config.json", file) for file in ("model.safetensors", "pytorch_model.bin")),
            "yuvalkirstain/PickScore_v1 on the model hub",
            "3.9 GB",
            "not stated; Pick-a-Pic is MIT",
        ),
        "processor": Role(
            ((PREPROCESSOR, WORDS, "tokenizer.json"), (PREPROCESSOR, WORDS, "vocab.json", "merges.txt")),
            "laion/CLIP-ViT-H-14-laion2B-s32B-b79K on the model hub",
            "4 MB",
            "MIT",
        ),
    }

    def load(self) -> nn.Module:
        """See Reward."""
        config, weights = self.paths("model")
        try:
            make = partial(CLIPModel, CLIPConfig.from_dict(read_json(config)))
            with torch.device("meta"):
                make()
        except Exception as error:  # whatever a configuration of something else leads to
            raise UserError(f"{config}: no configuration of a CLIPModel ({_line(error)})") from None
        network: nn.Module = load_weights(make, weights, convert=_without_positions, dtype=self.dtype, pickles=True)
        return network

    def preprocess(self, picture: Image.Image) -> np.ndarray:
        """See Reward: transformers' own, up to bytes; alpha is dropped, as it was when PickScore came out."""
        plain = self._eye(readable(picture).convert("RGB"), do_rescale=False, do_normalize=False, return_tensors="np")
        pixels: np.ndarray = plain["pixel_values"][0]
        return pixels

    @torch.no_grad()
    def image_features(self, pixels: Tensor) -> Tensor:
        """Pixels to features (B, D) of length 1."""
        network: Any = self.network
        seen = normalise(pixels, self._eye.image_mean, self._eye.image_std, self.device, self.dtype)
        return F.normalize(network.get_image_features(seen).pooler_output.float(), dim=-1)

    @torch.no_grad()
    def scores(self, features: Tensor, captions: Sequence[str]) -> Tensor:
        """See Reward; what is too long of a caption is cut off."""
        require_captions(self.name, captions)
        network: Any = self.network
        texts, places = distinct(captions)
        tokens = self._tokenizer(
            texts,
            padding=True,
            truncation=True,
            max_length=network.config.text_config.max_position_embeddings,
            return_tensors="pt",
        ).to(self.device)
        found = network.get_text_features(tokens.input_ids, attention_mask=tokens.attention_mask).pooler_output
        words = F.normalize(found.float(), dim=-1)
        scale: Tensor = network.logit_scale.exp()
        return scale * (features.to(self.device).float() * words[places]).sum(-1)

    @cached_property
    def _eye(self) -> Any:
        file = self.paths("processor")[0]
        try:
            return CLIPImageProcessorPil.from_dict(read_json(file))
        except Exception as error:
            raise UserError(f"{file}: no configuration of a CLIPImageProcessor ({_line(error)})") from None

    @cached_property
    def _tokenizer(self) -> Any:
        folder = self.paths("processor")[0].parent
        try:
            return CLIPTokenizer.from_pretrained(folder, local_files_only=True)
        except Exception as error:
            raise UserError(f"{folder}: no files of a CLIPTokenizer ({_line(error)})") from None


def _without_positions(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """Older versions of transformers stored the counting of positions."""
    return {name: tensor for name, tensor in tensors.items() if not name.endswith(".position_ids")}


def _line(error: Exception) -> str:
    return " ".join(str(error).split())
