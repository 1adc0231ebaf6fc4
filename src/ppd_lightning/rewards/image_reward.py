"""ImageReward: BLIP's image and text networks with a head, trained on people's rankings.

Source: Xu et al., arXiv 2304.05977; image-reward 1.5, `ImageReward.py` and `models/BLIP`. Its vision transformer is
timm's, its text network with cross attention is transformers' BlipTextModel: the same names and the same numbers.

B = batch, H, W = height and width, P = image tokens, D = their width, L = text tokens.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cached_property, partial
from typing import Any, ClassVar

import numpy as np
import torch
from open_clip.transform import PreprocessCfg
from PIL import Image
from timm.models.vision_transformer import VisionTransformer
from torch import Tensor, nn
from transformers import BertTokenizer, BlipTextConfig
from transformers.models.blip.modeling_blip_text import BlipTextModel

from ppd_lightning.backbones.weights import load_weights
from ppd_lightning.errors import UserError
from ppd_lightning.rewards.head import ScoreHead
from ppd_lightning.rewards.readable import readable
from ppd_lightning.rewards.reward import Reward, require_captions
from ppd_lightning.rewards.sources import Role
from ppd_lightning.rewards.transform import Transform

MEAN, DEVIATION = 0.16717362830052426, 1.0333394966054072
"""Of the head's outputs over the authors' data."""

LONGEST = 35
"""Text tokens that are read."""

UNUSED = ("blip.vision_proj.", "blip.text_proj.", "blip.text_encoder.embeddings.position_ids")
"""What the file has of BLIP's training and the score does not need."""


class Blip(nn.Module):
    """The two networks under the file's names.

    Args:
        vision: arguments of timm's VisionTransformer.
        text: arguments of transformers' BlipTextConfig.
    """

    def __init__(self, vision: Mapping[str, Any], text: Mapping[str, Any]) -> None:
        super().__init__()
        config = BlipTextConfig(**text, encoder_hidden_size=vision["embed_dim"])
        self.visual_encoder = VisionTransformer(**vision, num_classes=0, global_pool="")
        self.text_encoder = BlipTextModel(config, add_pooling_layer=False)


class ImageRewardReward(Reward):
    """Standardised score of an image for a caption, around -2 to 2. Features are all image tokens: too many to keep."""

    keeps_features = False
    roles = {
        "model": Role(
            (("ImageReward.pt",),), "THUDM/ImageReward on the model hub", "1.8 GB", "Apache-2.0", single=True
        ),
        "tokenizer": Role((("vocab.txt",),), "google-bert/bert-base-uncased on the model hub", "0.2 MB", "Apache-2.0"),
    }
    vision: ClassVar[Mapping[str, Any]] = {
        "img_size": 224,
        "patch_size": 16,
        "embed_dim": 1024,
        "depth": 24,
        "num_heads": 16,
    }
    text: ClassVar[Mapping[str, Any]] = {
        "vocab_size": 30524,
        "hidden_size": 768,
        "intermediate_size": 3072,
        "num_hidden_layers": 12,
        "num_attention_heads": 12,
        "max_position_embeddings": 512,
    }

    def load(self) -> nn.Module:
        """See Reward. The head stays in fp32."""
        (file,) = self.paths("model")
        blip = load_weights(
            partial(Blip, self.vision, self.text), file, convert=_of_blip, dtype=self.dtype, pickles=True
        )
        head = load_weights(partial(ScoreHead, self.text["hidden_size"]), file, convert=_of_head, pickles=True)
        return nn.ModuleDict({"blip": blip, "mlp": head})

    def preprocess(self, picture: Image.Image) -> np.ndarray:
        """See Reward."""
        return self._transform.preprocess(readable(picture))

    @torch.no_grad()
    def image_features(self, pixels: Tensor) -> Tensor:
        """Pixels to image tokens (B, P, D)."""
        encode = self.network.get_submodule("blip.visual_encoder")
        tokens: Tensor = encode(self._transform.normalise(pixels, self.device, self.dtype))
        return tokens.float()

    @torch.no_grad()
    def scores(self, features: Tensor, captions: Sequence[str]) -> Tensor:
        """See Reward; what is too long of a caption is cut off."""
        require_captions(self.name, captions)
        text_encoder, head = self.network.get_submodule("blip.text_encoder"), self.network.get_submodule("mlp")
        words = self._tokenizer(
            list(captions), padding="max_length", truncation=True, max_length=LONGEST, return_tensors="pt"
        ).to(self.device)
        read = text_encoder(
            words.input_ids,
            attention_mask=words.attention_mask,
            encoder_hidden_states=features.to(self.device, self.dtype),
        )
        scores: Tensor = head(read.last_hidden_state[:, 0].float())
        return (scores - MEAN) / DEVIATION

    @cached_property
    def _transform(self) -> Transform:
        return Transform(PreprocessCfg(size=self.vision["img_size"]))

    @cached_property
    def _tokenizer(self) -> Any:
        folder = self.paths("tokenizer")[0].parent
        try:
            tokenizer = BertTokenizer.from_pretrained(folder, local_files_only=True)
        except Exception as error:
            reason = " ".join(str(error).split())
            raise UserError(f"{folder}: no files of a BertTokenizer ({reason})") from None
        # BLIP's two tokens, for captions that hold them.
        tokenizer.add_special_tokens({"bos_token": "[DEC]", "extra_special_tokens": ["[ENC]"]})
        return tokenizer


def _of_blip(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """All but the head and what is not needed, so that what is unknown is found."""
    return {
        name.removeprefix("blip."): tensor for name, tensor in tensors.items() if not name.startswith(("mlp.", *UNUSED))
    }


def _of_head(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    return {name.removeprefix("mlp."): tensor for name, tensor in tensors.items() if name.startswith("mlp.")}
