"""The published rewards in their own layouts, tiny, with random weights that all matter; and pictures of every mode."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import open_clip
import torch
from PIL import Image
from safetensors.torch import save_file
from tests import tiny
from torch import Tensor, nn
from transformers import CLIPConfig, CLIPModel

from ppd_lightning.rewards.aesthetic import AestheticReward
from ppd_lightning.rewards.head import ScoreHead
from ppd_lightning.rewards.hps import HPSv2Reward
from ppd_lightning.rewards.image_reward import Blip, ImageRewardReward
from ppd_lightning.rewards.open_clip import OpenClipReward
from ppd_lightning.rewards.pickscore import PickScoreReward
from ppd_lightning.rewards.reward import Reward

ARCHITECTURE = "tiny-for-tests"
SIZE = 28
"""Of what the tiny networks see: neither a power of two nor a picture's."""
CLIP = {
    "embed_dim": 24,
    "vision_cfg": {"image_size": SIZE, "layers": 2, "width": 32, "head_width": 16, "patch_size": 7},
    "text_cfg": {"context_length": 10, "vocab_size": 49408, "width": 16, "heads": 2, "layers": 2},
}
VISION = {"img_size": SIZE, "patch_size": 7, "embed_dim": 32, "depth": 2, "num_heads": 4}
TEXT = {
    "vocab_size": 60,
    "hidden_size": 24,
    "intermediate_size": 40,
    "num_hidden_layers": 2,
    "num_attention_heads": 3,
    "max_position_embeddings": 40,
    "bos_token_id": 2,
    "sep_token_id": 3,
}
LONG = "a very long caption of many small words " * 12
CAPTIONS = ["a red cat", "Žluťoučký KŮŇ & 🐎 naïve", LONG, "two cats,\n  one dog &amp; more"]


class TinyImageReward(ImageRewardReward):
    """The class with other widths."""

    vision, text = VISION, TEXT


def lively(module: nn.Module, seed: int = 0, strength: float = 1.5) -> dict[str, Tensor]:
    """The module with random weights under which every one of them changes the scores; its state dict."""
    generator = torch.Generator().manual_seed(seed)
    for name, weight in module.named_parameters():
        if name == "logit_scale":
            continue
        wide = weight.ndim > 1
        drawn = torch.randn(weight.shape, generator=generator) * (strength * weight[0].numel() ** -0.5 if wide else 0.3)
        if "embedding" in name or "embed" in name or name == "cls_token":
            drawn = torch.randn(weight.shape, generator=generator)
        weight.data = drawn + (1 if weight.ndim == 1 and bool((weight == 1).all()) else 0)
    return {name: tensor.contiguous() for name, tensor in module.state_dict().items()}


def open_clip_weights(seed: int = 0, **changes: Any) -> dict[str, Tensor]:
    return lively(open_clip.CLIP(**CLIP | changes), seed)


def open_clip_folder(
    folder: Path, *, preprocess: Mapping[str, Any] | None = None, seed: int = 0, **changes: Any
) -> Path:
    """A model in open_clip's layout."""
    folder.mkdir(parents=True, exist_ok=True)
    config = {"model_cfg": CLIP | changes, "preprocess_cfg": dict(preprocess or {})}
    (folder / "open_clip_config.json").write_text(json.dumps(config))
    save_file(open_clip_weights(seed, **changes), folder / "open_clip_model.safetensors")
    return folder


def know_architecture(folder: Path) -> None:
    """Teach open_clip the tiny network by name, as its users do."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / f"{ARCHITECTURE}.json").write_text(json.dumps(CLIP))
    open_clip.add_model_config(folder / f"{ARCHITECTURE}.json")


def clip(folder: Path, **settings: Any) -> OpenClipReward:
    return OpenClipReward("clip", {"model": str(open_clip_folder(folder / "clip"))}, **settings)


def hpsv2(folder: Path, **settings: Any) -> HPSv2Reward:
    know_architecture(folder)
    file = folder / "HPS_v2_compressed.pt"
    torch.save({"state_dict": open_clip_weights(1)}, file)
    return HPSv2Reward("hpsv2", {"model": str(file)}, architecture=ARCHITECTURE, **settings)


def aesthetic(folder: Path, **settings: Any) -> AestheticReward:
    model = open_clip_folder(folder / "tower", seed=2, quick_gelu=True)
    torch.save(lively(ScoreHead(CLIP["embed_dim"]), 3), folder / "head.pth")
    return AestheticReward("aesthetic", {"model": str(model), "head": str(folder / "head.pth")}, **settings)


def pickscore(folder: Path, **settings: Any) -> PickScoreReward:
    words = tiny.tokenizer()
    network = {"intermediate_size": 40, "num_hidden_layers": 2, "num_attention_heads": 2}
    text = {"hidden_size": 24, "vocab_size": len(words), "max_position_embeddings": tiny.TEXT_LENGTH}
    tokens = {f"{name}_token_id": getattr(words, f"{name}_token_id") for name in ("bos", "eos", "pad")}
    vision = {"hidden_size": 32, "image_size": SIZE, "patch_size": 7, **network}
    config = CLIPConfig(text_config=text | network | tokens, vision_config=vision, projection_dim=20)
    model = CLIPModel(config)
    lively(model, 4)
    model.save_pretrained(folder / "pick")
    words.save_pretrained(folder / "processor")
    seen = {"crop_size": {"height": SIZE, "width": SIZE}, "size": {"shortest_edge": SIZE}, "do_center_crop": True}
    seen |= {"image_processor_type": "CLIPImageProcessor", "image_mean": [0.4, 0.5, 0.6], "image_std": [0.2, 0.3, 0.4]}
    (folder / "processor/preprocessor_config.json").write_text(json.dumps(seen))
    return PickScoreReward(
        "pickscore", {"model": str(folder / "pick"), "processor": str(folder / "processor")}, **settings
    )


def image_reward(folder: Path, **settings: Any) -> TinyImageReward:
    blip = lively(Blip(VISION, TEXT), 5)
    unused = {"vision_proj.weight": torch.zeros(2, 32), "text_proj.bias": torch.zeros(2)}
    unused["text_encoder.embeddings.position_ids"] = torch.arange(40)[None]
    head = lively(ScoreHead(TEXT["hidden_size"]), 6)
    weights = {f"blip.{name}": tensor for name, tensor in {**blip, **unused}.items()}
    folder.mkdir(parents=True, exist_ok=True)
    torch.save(weights | {f"mlp.{name}": tensor for name, tensor in head.items()}, folder / "ImageReward.pt")
    letters = "abcdefghijklmnopqrstuvwxyz"
    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *letters, *[f"##{letter}" for letter in letters], "&"]
    (folder / "vocab.txt").write_text("\n".join(words) + "\n")
    return TinyImageReward(
        "image_reward", {"model": str(folder / "ImageReward.pt"), "tokenizer": str(folder)}, **settings
    )


MAKERS: dict[str, Callable[..., Reward]] = {
    make.__name__: make for make in (clip, hpsv2, aesthetic, pickscore, image_reward)
}


def pictures() -> dict[str, Image.Image]:
    """One picture of each mode, of different shapes, none of them that of the networks."""
    random = np.random.default_rng(0)

    def picture(width: int, height: int) -> Image.Image:
        rough = random.integers(0, 256, (height // 8 + 1, width // 8 + 1, 3), np.uint8)
        return Image.fromarray(rough).resize((width, height), Image.Resampling.BICUBIC)

    transparent = picture(64, 41).convert("RGBA")
    transparent.putalpha(picture(64, 41).convert("L"))
    deep = np.asarray(picture(37, 52).convert("L")).astype(np.uint16) * 257
    return {
        "RGB": picture(90, 40),
        "tall": picture(33, 95),
        "small": picture(9, 12),
        "same": picture(SIZE, SIZE),
        "longest side as seen": picture(SIZE, 19),
        "L": picture(50, 31).convert("L"),
        "LA": transparent.convert("LA"),
        "RGBA": transparent,
        "P": picture(70, 45).quantize(16),
        "1": picture(40, 60).convert("1"),
        "CMYK": picture(45, 60).convert("CMYK"),
        "I;16": Image.fromarray(deep),
    }


def eight_bits(picture: Image.Image) -> Image.Image:
    """The same with 8 bits a channel, in float arithmetic."""
    if picture.mode != "I;16":
        return picture
    return Image.fromarray(np.floor(np.asarray(picture) / 256).astype(np.uint8))
