"""The smallest real things: each a class of the released model, a few kilobytes wide, with weights that all matter."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import diffusers
import pytest
import torch
from diffusers import DDPMWuerstchenScheduler, StableCascadeUNet
from safetensors.torch import save_file
from tokenizers import pre_tokenizers
from torch import Tensor, nn
from transformers import CLIPTextConfig, CLIPTextModelWithProjection, CLIPTokenizer

from ppd_lightning.backbones.cascade.user_attention import attach_user_branch
from ppd_lightning.backbones.stage_c import StageC
from ppd_lightning.backbones.user_branch import UserBranch
from ppd_lightning.worlds.emoji.backbone import EmojiBackbone
from ppd_lightning.worlds.emoji.codec import EmojiCodec

if TYPE_CHECKING:
    from ppd_lightning.training.objectives.ppd import PPD
    from ppd_lightning.training.settings import Optimizer

LATENT = (16, 4, 4)
EMBEDDING = 6
TEXT_LENGTH, TEXT_WIDTH, POOLED_WIDTH, IMAGE_WIDTH = 8, 20, 28, 12
# Every width is another one, so that a mix-up of two of them fails.
UNET = {
    "block_out_channels": (32, 48),
    "num_attention_heads": (2, 3),
    "down_num_layers_per_block": (1, 2),
    "up_num_layers_per_block": (2, 1),
    "conditioning_dim": 24,
    "timestep_ratio_embedding_dim": 16,
    "patch_size": 1,
    "clip_text_in_channels": TEXT_WIDTH,
    "clip_text_pooled_in_channels": POOLED_WIDTH,
    "clip_image_in_channels": IMAGE_WIDTH,
    "switch_level": (False,),
}


MODEL: dict[str, Any] = {
    "path": None,
    "codec_path": None,
    "num_tokens": 4,
    "null_user": "zero",
    "token_width": "network",
}


def backbone(folder: Path | None = None, **changes: Any) -> EmojiBackbone:
    """The emoji model's backbone, whose latents of 32 pixels are LATENT; by default of the files that ship."""
    own = {"path": folder and str(folder)}
    return EmojiBackbone(**{"name": "emoji", "arithmetic": "stock"} | MODEL | own | changes)


def stage_c(folder: Path | str, codec: Path | str | None = None, name: str = "stage_c_lite") -> StageC:
    """Stable Cascade's backbone."""
    own = {"name": name, "path": str(folder), "codec_path": codec and str(codec), "arithmetic": "stock"}
    return StageC(**MODEL | own)


def unet(seed: int = 0, **changes: Any) -> StableCascadeUNet:
    """A frozen Stage C of two levels with six attention blocks."""
    return _made(lambda: StableCascadeUNet(**UNET | changes), seed)


def branch(prior: StableCascadeUNet, *, seed: int = 0, trained: bool = True, **changes: Any) -> UserBranch:
    """A user branch on `prior`; a trained one has a to_v that is not zero."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        made = attach_user_branch(prior, EMBEDDING, **changes)
        if trained:
            for block in made.blocks:
                nn.init.normal_(block.to_v.weight, std=0.2)
    return made


def users(count: int, seed: int = 0) -> Tensor:
    """Embeddings (count, EMBEDDING)."""
    return torch.randn(count, EMBEDDING, generator=torch.Generator().manual_seed(seed))


def inputs(count: int, seed: int = 0) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Noised latents, times, text and pooled text for `predict_noise`."""
    generator = torch.Generator().manual_seed(seed)
    return (
        torch.randn(count, *LATENT, generator=generator),
        torch.rand(count, generator=generator),
        torch.randn(count, TEXT_LENGTH, TEXT_WIDTH, generator=generator),
        torch.randn(count, 1, POOLED_WIDTH, generator=generator),
    )


def batch(count: int, seed: int = 0) -> dict[str, Tensor]:
    """What PreferenceDataModule gives, from random numbers."""
    _, _, text, pooled = inputs(count, seed)
    latents = torch.randn(2, count, *LATENT, generator=torch.Generator().manual_seed(seed + 1))
    return {
        "pair": torch.arange(count) + 100 * seed,
        "epoch": torch.zeros(count, dtype=torch.int64),
        "latents_preferred": latents[0],
        "latents_dispreferred": latents[1],
        "text": text,
        "text_pooled": pooled,
        "user": users(count, seed),
    }


def others(count: int, each: int, seed: int = 7) -> Tensor:
    """For a batch of an objective that compares people: `each` other users for each of its pairs."""
    return users(count * each, seed).view(count, each, -1)


def conditions(text: Tensor, pooled: Tensor) -> dict[str, Tensor]:
    """What a backbone's `predict` takes, of the last two of `inputs`."""
    return {"text": text, "text_pooled": pooled}


def objective(**changes: Any) -> PPD:
    """PPD without user dropping."""
    from ppd_lightning.training.objectives.ppd import PPD

    settings: dict[str, Any] = {
        "name": "ppd",
        "beta": 1.0,
        "reduction": "sum",
        "timesteps_weight": 0.5,
        "weighting": "const",
        "t_min": 0.001,
        "t_max": 1.0,
        "share_noise": True,
        "drop_user": 0.0,
        "sft_weight": 0.0,
    }
    return PPD(**settings | changes)


def optimizer(**changes: Any) -> Optimizer:
    """AdamW at a constant rate."""
    from ppd_lightning.training.settings import Optimizer

    settings: dict[str, Any] = {
        "lr": 1e-3,
        "weight_decay": 0.0,
        "betas": [0.9, 0.999],
        "warmup_steps": 0,
        "schedule": "constant",
        "grad_clip": None,
        "ema_decay": None,
    }
    return Optimizer(**settings | changes)


def tokenizer() -> CLIPTokenizer:
    """CLIP's tokenizer over single bytes, of TEXT_LENGTH tokens."""
    letters = sorted(pre_tokenizers.ByteLevel.alphabet())
    tokens = [*letters, *[letter + "</w>" for letter in letters], "<|startoftext|>", "<|endoftext|>"]
    vocabulary = {token: index for index, token in enumerate(tokens)}
    return CLIPTokenizer(vocab=vocabulary, merges=[], model_max_length=TEXT_LENGTH)


def text_encoder(seed: int = 0) -> CLIPTextModelWithProjection:
    """A frozen CLIP text model of two layers for `tokenizer()`."""
    words = tokenizer()
    config = CLIPTextConfig(
        vocab_size=len(words),
        hidden_size=TEXT_WIDTH,
        intermediate_size=2 * TEXT_WIDTH,
        projection_dim=POOLED_WIDTH,
        num_hidden_layers=2,
        num_attention_heads=2,
        max_position_embeddings=TEXT_LENGTH,
        bos_token_id=words.bos_token_id,
        eos_token_id=words.eos_token_id,
        pad_token_id=words.pad_token_id,
    )
    return _made(lambda: CLIPTextModelWithProjection(config), seed)


def codec(seed: int = 0) -> EmojiCodec:
    """A frozen codec, 32x32 images to LATENT."""
    return _made(
        lambda: EmojiCodec(fine_channels=8, coarse_channels=12, encoder_blocks=(1, 1), decoder_blocks=(1, 1)), seed
    )


def model_folder(folder: Path) -> Path:
    """A whole model in the released layout."""
    unet().save_pretrained(folder / "prior")
    text_encoder().save_pretrained(folder / "text_encoder")
    tokenizer().save_pretrained(folder / "tokenizer")
    DDPMWuerstchenScheduler().save_pretrained(folder / "scheduler")
    codec().save_pretrained(folder / "codec")
    return folder


def stage_c_folder(folder: Path, prior: str = "prior_lite") -> Path:
    """A whole Stable Cascade in the released layout, every part tiny but for the encoder and the previewer."""
    from tests import tiny_codec

    unet().save_pretrained(folder / prior)
    text_encoder().save_pretrained(folder / "text_encoder")
    tokenizer().save_pretrained(folder / "tokenizer")
    DDPMWuerstchenScheduler().save_pretrained(folder / "scheduler")
    save_file(tiny_codec.efficientnet_encoder().state_dict(), folder / "effnet_encoder.safetensors")
    save_file(tiny_codec.previewer().state_dict(), folder / "previewer.safetensors")
    tiny_codec.stage_b().save_pretrained(folder / "decoder")
    tiny_codec.save_stage_a(folder / "vqgan")
    return folder


def deprecated(name: str) -> Any:
    """A class that diffusers no longer maintains; tests that compare with it are skipped once it is gone."""
    kind = getattr(diffusers, name, None)
    if kind is None:
        pytest.skip(f"diffusers {diffusers.__version__} has no {name} to compare with")
    return kind


def _made(make: Any, seed: int) -> Any:
    """The module with weights of the size that keeps activations as they are, none of them zero, and frozen."""
    with torch.random.fork_rng(devices=[]):
        module = make()
    generator = torch.Generator().manual_seed(seed)
    for weight in module.parameters():
        deviation = weight[0].numel() ** -0.5 if weight.ndim in (2, 4) and weight.numel() > len(weight) else 0.1
        drawn = torch.randn(weight.shape, generator=generator) * deviation
        # Scales of norms stay around one.
        weight.data = drawn + (1 if weight.ndim == 1 and bool((weight == 1).all()) else 0)
    return module.eval().requires_grad_(False)
