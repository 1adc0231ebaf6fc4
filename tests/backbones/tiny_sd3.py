"""A whole Stable Diffusion 3 in the released layout, each part tiny and random."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from diffusers import AutoencoderKL, FlowMatchEulerDiscreteScheduler, SD3Transformer2DModel, StableDiffusion3Pipeline
from tests import tiny
from tests.backbones import tiny_unet
from tokenizers import Tokenizer, models, pre_tokenizers, processors
from transformers import (
    CLIPTextConfig,
    CLIPTextModelWithProjection,
    PreTrainedTokenizerFast,
    T5Config,
    T5EncoderModel,
)

from ppd_lightning.backbones.stable_diffusion_3 import StableDiffusion3

# Every width is another one, so that a mix-up of two of them fails.
CLIP_WIDTHS, POOLED_WIDTHS, TEXT_WIDTH, T5_TOKENS = (12, 16), (6, 10), 36, 5
TRANSFORMER: dict[str, Any] = {
    "sample_size": 8,
    "patch_size": 2,
    "in_channels": 16,
    "out_channels": 16,
    "num_layers": 3,
    "attention_head_dim": 8,
    "num_attention_heads": 4,
    "joint_attention_dim": TEXT_WIDTH,
    "caption_projection_dim": 32,
    "pooled_projection_dim": sum(POOLED_WIDTHS),
    "pos_embed_max_size": 8,
    "dual_attention_layers": (0, 1),
    "qk_norm": "rms_norm",
}


def transformer(seed: int = 0, **changes: Any) -> SD3Transformer2DModel:
    """A frozen network of three blocks; two of them are dual, the last reads the text alone."""
    return tiny._made(lambda: SD3Transformer2DModel(**TRANSFORMER | changes), seed)


def pipeline(*, t5: bool = True, **changes: Any) -> StableDiffusion3Pipeline:
    """All parts in diffusers' own pipeline; `changes` are the transformer's."""
    return StableDiffusion3Pipeline(
        transformer=transformer(**changes),
        scheduler=FlowMatchEulerDiscreteScheduler(shift=3.0),
        vae=vae(),
        text_encoder=clip(0),
        tokenizer=tiny.tokenizer(),
        text_encoder_2=clip(1),
        tokenizer_2=tiny.tokenizer(),
        text_encoder_3=text_encoder_t5() if t5 else None,
        tokenizer_3=tokenizer_t5() if t5 else None,
    )


def folder(path: Path, *, t5: bool = True, **changes: Any) -> Path:
    """`pipeline` as a released folder."""
    pipeline(t5=t5, **changes).save_pretrained(path)
    return path


def vae() -> AutoencoderKL:
    """The frozen autoencoder, with a scale and a shift."""
    return tiny_unet.autoencoder(
        latent_channels=16,
        scaling_factor=1.5305,
        shift_factor=0.0609,
        use_quant_conv=False,
        use_post_quant_conv=False,
    )


def clip(index: int) -> CLIPTextModelWithProjection:
    """The first or the second frozen CLIP, of two layers."""
    words = tiny.tokenizer()
    config = CLIPTextConfig(
        vocab_size=len(words),
        hidden_size=CLIP_WIDTHS[index],
        intermediate_size=20,
        projection_dim=POOLED_WIDTHS[index],
        num_hidden_layers=2,
        num_attention_heads=2,
        max_position_embeddings=tiny.TEXT_LENGTH,
        bos_token_id=words.bos_token_id,
        eos_token_id=words.eos_token_id,
        pad_token_id=words.pad_token_id,
    )
    return tiny._made(lambda: CLIPTextModelWithProjection(config), index)


def text_encoder_t5() -> T5EncoderModel:
    """A frozen T5 encoder of two layers for `tokenizer_t5`."""
    config = T5Config(
        vocab_size=len(tokenizer_t5()),
        d_model=TEXT_WIDTH,
        d_kv=6,
        d_ff=40,
        num_layers=2,
        num_heads=4,
        feed_forward_proj="gated-gelu",
    )
    return tiny._made(lambda: T5EncoderModel(config), 2)


def tokenizer_t5() -> PreTrainedTokenizerFast:
    """A T5 tokenizer over letters."""
    special = [("<pad>", 0.0), ("</s>", 0.0), ("<unk>", 0.0)]
    words = Tokenizer(models.Unigram([*special, *((letter, -2.0) for letter in "▁abcdefghijklmnopqrstuvwxyz")], 2))
    words.pre_tokenizer = pre_tokenizers.Metaspace()
    words.post_processor = processors.TemplateProcessing(single="$A </s>", special_tokens=[("</s>", 1)])
    return PreTrainedTokenizerFast(
        tokenizer_object=words, pad_token="<pad>", eos_token="</s>", unk_token="<unk>", model_max_length=512
    )


def backbone(folder: Path, **changes: Any) -> StableDiffusion3:
    """The backbone of such a folder."""
    own = {"name": "sd35_medium", "path": str(folder), "token_width": "enough"}
    own |= {"shift": 3.0, "t5": True, "text_tokens": T5_TOKENS, "dual_sites": False}
    return StableDiffusion3(**tiny.MODEL | own | changes)
