"""ImageReward is BLIP as published, computed a second way: plain formulas in float64 on the file's own tensors."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import torch
from open_clip.transform import PreprocessCfg, image_transform_v2
from tests.rewards import tiny_rewards as made
from torch import Tensor
from transformers import BertTokenizer

from ppd_lightning.rewards.image_reward import ImageRewardReward


class Plain:
    """The published forward pass, from the names of its file."""

    def __init__(self, file: Path) -> None:
        self.tensors = {name: tensor.double() for name, tensor in torch.load(file).items()}

    def linear(self, x: Tensor, name: str) -> Tensor:
        return x @ self.tensors[f"{name}.weight"].T + self.tensors[f"{name}.bias"]

    def norm(self, x: Tensor, name: str, epsilon: float) -> Tensor:
        centred = x - x.mean(-1, keepdim=True)
        scaled = centred / (centred.square().mean(-1, keepdim=True) + epsilon).sqrt()
        return scaled * self.tensors[f"{name}.weight"] + self.tensors[f"{name}.bias"]

    def attend(self, query: Tensor, key: Tensor, value: Tensor, heads: int) -> Tensor:
        """(L, D), (S, D), (S, D) to (L, D)."""
        query, key, value = (x.reshape(len(x), heads, -1).transpose(0, 1) for x in (query, key, value))
        weights = (query @ key.transpose(1, 2) / math.sqrt(query.shape[-1])).softmax(-1)
        return (weights @ value).transpose(0, 1).flatten(1)

    def gelu(self, x: Tensor) -> Tensor:
        return x * (1 + torch.erf(x / math.sqrt(2))) / 2

    def image(self, pixels: Tensor) -> Tensor:
        """(3, H, W) to tokens (P, D): a vision transformer with epsilon 1e-6, no norm before its blocks."""
        name, patch = "blip.visual_encoder", made.VISION["patch_size"]
        patches = pixels.unfold(1, patch, patch).unfold(2, patch, patch).permute(1, 2, 0, 3, 4).flatten(2).flatten(0, 1)
        tokens = patches @ self.tensors[f"{name}.patch_embed.proj.weight"].flatten(1).T
        tokens = tokens + self.tensors[f"{name}.patch_embed.proj.bias"]
        x = torch.cat([self.tensors[f"{name}.cls_token"][0], tokens]) + self.tensors[f"{name}.pos_embed"][0]
        for block in (f"{name}.blocks.{number}" for number in range(made.VISION["depth"])):
            query, key, value = self.linear(self.norm(x, f"{block}.norm1", 1e-6), f"{block}.attn.qkv").chunk(3, -1)
            x = x + self.linear(self.attend(query, key, value, made.VISION["num_heads"]), f"{block}.attn.proj")
            hidden = self.gelu(self.linear(self.norm(x, f"{block}.norm2", 1e-6), f"{block}.mlp.fc1"))
            x = x + self.linear(hidden, f"{block}.mlp.fc2")
        return self.norm(x, f"{name}.norm", 1e-6)

    def text(self, tokens: list[int], image: Tensor) -> Tensor:
        """Tokens (L) without padding to their states (L, D): BERT, norms after, each block looks at the image."""
        name = "blip.text_encoder"
        x = self.tensors[f"{name}.embeddings.word_embeddings.weight"][tokens]
        x = x + self.tensors[f"{name}.embeddings.position_embeddings.weight"][: len(tokens)]
        x = self.norm(x, f"{name}.embeddings.LayerNorm", 1e-12)
        for layer in (f"{name}.encoder.layer.{number}" for number in range(made.TEXT["num_hidden_layers"])):
            for part, seen in (("attention", None), ("crossattention", image)):
                own = f"{layer}.{part}"
                query, key, value = (
                    self.linear(x if seen is None or one == "query" else seen, f"{own}.self.{one}")
                    for one in ("query", "key", "value")
                )
                told = self.linear(
                    self.attend(query, key, value, made.TEXT["num_attention_heads"]), f"{own}.output.dense"
                )
                x = self.norm(x + told, f"{own}.output.LayerNorm", 1e-12)
            hidden = self.gelu(self.linear(x, f"{layer}.intermediate.dense"))
            x = self.norm(x + self.linear(hidden, f"{layer}.output.dense"), f"{layer}.output.LayerNorm", 1e-12)
        return x

    def score(self, pixels: Tensor, tokens: list[int]) -> float:
        x = self.text(tokens, self.image(pixels.double()))[0]
        for place in (0, 2, 4, 6, 7):
            x = self.linear(x, f"mlp.layers.{place}")
        return (x.item() - 0.16717362830052426) / 1.0333394966054072


def test_scores_equal_the_published_formula_in_float64(tmp_path: Path) -> None:
    reward, pictures = made.image_reward(tmp_path), made.pictures()
    captions = [made.CAPTIONS[place % len(made.CAPTIONS)] for place in range(len(pictures))]
    plain = Plain(tmp_path / "ImageReward.pt")
    transform = image_transform_v2(PreprocessCfg(size=made.SIZE), is_train=False)
    words = BertTokenizer.from_pretrained(tmp_path)
    expected = []
    for picture, caption in zip(pictures.values(), captions, strict=True):
        tokens = words(caption, truncation=True, max_length=35).input_ids
        expected.append(plain.score(transform(made.eight_bits(picture)), tokens))
    ours = reward.score(list(pictures.values()), captions)
    np.testing.assert_allclose(ours.numpy(), expected, atol=2e-3 * np.std(expected), rtol=0)
    assert np.std(expected) > 0.05


def test_a_caption_is_cut_at_35_tokens(tmp_path: Path) -> None:
    reward, picture = made.image_reward(tmp_path), made.pictures()["RGB"]
    fits = " ".join("abc"[place % 3] for place in range(33))  # beside the first and the last token
    scores = reward.score([picture] * 3, [fits, f"{fits} z", f"{fits[:-1]}z"]).tolist()
    assert scores[0] == scores[1]
    assert scores[0] != scores[2]


def test_the_published_network_is_blip_large() -> None:
    """The numbers of parameters of its two towers, as its file has them."""
    with torch.device("meta"):
        from ppd_lightning.rewards.image_reward import Blip

        blip = Blip(ImageRewardReward.vision, ImageRewardReward.text)
    assert sum(weight.numel() for weight in blip.visual_encoder.parameters()) == 303_301_632
    assert {
        weight.shape[1] for name, weight in blip.text_encoder.named_parameters() if "crossattention.self.key.w" in name
    } == {1024}
