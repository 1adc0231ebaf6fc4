"""A whole Stable Diffusion 1.5 or XL in the released layout, each part tiny and random; also as one checkpoint file."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from diffusers import (
    AutoencoderKL,
    DDIMScheduler,
    EulerDiscreteScheduler,
    StableDiffusionPipeline,
    StableDiffusionXLPipeline,
    UNet2DConditionModel,
)
from diffusers.loaders import single_file_utils
from safetensors.torch import load_file, save_file
from tests import tiny
from torch import Tensor
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTextModelWithProjection

from ppd_lightning.backbones.stable_diffusion import StableDiffusion

# Every width is another one, so that a mix-up of two of them fails.
WIDTHS, POOLED, SIZE_WIDTH = (12, 20), 14, 8
TABLE = {"beta_start": 0.00085, "beta_end": 0.012, "beta_schedule": "scaled_linear", "steps_offset": 1}
NAMES = ("sd15", "sdxl")


def unet(name: str, seed: int = 0, **changes: Any) -> UNet2DConditionModel:
    """A frozen network of two levels: cross-attention at the second one, one in each of its blocks."""
    settings: dict[str, Any] = {
        "sample_size": 4,
        "block_out_channels": (16, 32),
        "layers_per_block": 1,
        "norm_num_groups": 4,
        "down_block_types": ("DownBlock2D", "CrossAttnDownBlock2D"),
        "up_block_types": ("CrossAttnUpBlock2D", "UpBlock2D"),
        "attention_head_dim": (2, 4),
        "cross_attention_dim": WIDTHS[0],
    }
    if name == "sdxl":
        settings |= {
            "cross_attention_dim": sum(WIDTHS),
            "transformer_layers_per_block": (1, 2),
            "use_linear_projection": True,
            "addition_embed_type": "text_time",
            "addition_time_embed_dim": SIZE_WIDTH,
            "projection_class_embeddings_input_dim": POOLED + 6 * SIZE_WIDTH,
        }
    return tiny._made(lambda: UNet2DConditionModel(**settings | changes), seed)


def vae(name: str) -> AutoencoderKL:
    """The frozen autoencoder of a model."""
    return autoencoder(latent_channels=4, scaling_factor=0.13025 if name == "sdxl" else 0.18215)


def autoencoder(**settings: Any) -> AutoencoderKL:
    """A frozen autoencoder, 8 pixels to a position."""
    blocks = 4
    return tiny._made(
        lambda: AutoencoderKL(
            block_out_channels=(4,) * blocks,
            down_block_types=("DownEncoderBlock2D",) * blocks,
            up_block_types=("UpDecoderBlock2D",) * blocks,
            layers_per_block=1,
            norm_num_groups=2,
            sample_size=32,
            **settings,
        ),
        3,
    )


def text_encoder(index: int) -> CLIPTextModel | CLIPTextModelWithProjection:
    """CLIP L, or CLIP G with its projection, of three layers."""
    words = tiny.tokenizer()
    config = CLIPTextConfig(
        vocab_size=len(words),
        hidden_size=WIDTHS[index],
        intermediate_size=2 * WIDTHS[index],
        projection_dim=POOLED,
        num_hidden_layers=3,
        num_attention_heads=2,
        hidden_act="gelu" if index else "quick_gelu",
        max_position_embeddings=tiny.TEXT_LENGTH,
        bos_token_id=words.bos_token_id,
        eos_token_id=words.eos_token_id,
        pad_token_id=words.pad_token_id,
    )
    return tiny._made(lambda: (CLIPTextModelWithProjection if index else CLIPTextModel)(config), index)


def pipeline(name: str, prediction: str = "epsilon", **changes: Any) -> Any:
    """All parts in diffusers' own pipeline; `changes` are the network's."""
    settings: dict[str, Any] = {**TABLE, "prediction_type": prediction, "timestep_spacing": "leading"}
    parts: dict[str, Any] = {"unet": unet(name, **changes), "vae": vae(name)}
    parts |= {"text_encoder": text_encoder(0), "tokenizer": tiny.tokenizer()}
    if name == "sdxl":
        second = tiny.tokenizer()
        second.pad_token = "!"  # as the released one, which pads with another token than the first
        parts |= {"text_encoder_2": text_encoder(1), "tokenizer_2": second}
        return StableDiffusionXLPipeline(**parts, scheduler=EulerDiscreteScheduler(**settings), add_watermarker=False)
    scheduler = DDIMScheduler(**settings, clip_sample=False, set_alpha_to_one=True)
    return StableDiffusionPipeline(
        **parts, scheduler=scheduler, safety_checker=None, feature_extractor=None, requires_safety_checker=False
    )


def folder(path: Path, name: str, prediction: str = "epsilon", variant: str | None = None, **changes: Any) -> Path:
    """`pipeline` as a released folder; that of 1.5 has the names of weights that older releases wrote."""
    pipeline(name, prediction, **changes).save_pretrained(path, variant=variant)
    if name == "sd15" and variant is None:
        rename(path / "vae/diffusion_pytorch_model.safetensors", _older_codec)
        rename(path / "text_encoder/model.safetensors", _older_text)
    return path


def rename(file: Path, names: Any) -> None:
    """Write a file of weights again, under other names."""
    save_file(names(load_file(file)), file, metadata={"format": "pt"})


def _older_codec(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    older = {".to_q.": ".query.", ".to_k.": ".key.", ".to_v.": ".value.", ".to_out.0.": ".proj_attn."}
    found = {}
    for name, tensor in tensors.items():
        for new, old in older.items():
            name = name.replace(new, old)
        found[name] = tensor
    return found


def _older_text(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    positions = {"text_model.embeddings.position_ids": torch.arange(tiny.TEXT_LENGTH)[None]}
    return {"text_model." + name.removeprefix("text_model."): tensor for name, tensor in tensors.items()} | positions


def checkpoint(file: Path, name: str, more: Mapping[str, Tensor] | None = None, **changes: Any) -> Path:
    """The parts of `pipeline` in the original layout, one file of fp16 weights: the inverse of diffusers' maps."""
    made = pipeline(name, **changes)
    tensors = {f"model.diffusion_model.{key}": value for key, value in _original_unet(made.unet).items()}
    tensors |= {f"first_stage_model.{key}": value for key, value in _original_codec(made.vae).items()}
    own = "conditioner.embedders.0.transformer." if name == "sdxl" else "cond_stage_model.transformer."
    tensors |= {own + key: value for key, value in _older_text(made.text_encoder.state_dict()).items()}
    if name == "sdxl":
        tensors |= {f"conditioner.embedders.1.model.{key}": value for key, value in _open_clip(made.text_encoder_2)}
    tensors |= dict(more or {})
    halved = {key: value.half() if value.is_floating_point() else value for key, value in tensors.items()}
    save_file({key: value.contiguous().clone() for key, value in halved.items()}, file)
    return file


def _original_unet(network: UNet2DConditionModel) -> dict[str, Tensor]:
    state, layers = network.state_dict(), single_file_utils.DIFFUSERS_TO_LDM_MAPPING["unet"]
    names = dict(layers["layers"])
    if "add_embedding.linear_1.weight" in state:
        names |= layers["addition_embed_type"]
    # Two levels with one layer each: the places of blocks in the original lists.
    places = {
        "down_blocks.0.resnets.0": "input_blocks.1.0",
        "down_blocks.0.downsamplers.0.conv": "input_blocks.2.0.op",
        "down_blocks.1.resnets.0": "input_blocks.3.0",
        "down_blocks.1.attentions.0": "input_blocks.3.1",
        "mid_block.resnets.0": "middle_block.0",
        "mid_block.attentions.0": "middle_block.1",
        "mid_block.resnets.1": "middle_block.2",
        "up_blocks.0.resnets.0": "output_blocks.0.0",
        "up_blocks.0.attentions.0": "output_blocks.0.1",
        "up_blocks.0.resnets.1": "output_blocks.1.0",
        "up_blocks.0.attentions.1": "output_blocks.1.1",
        "up_blocks.0.upsamplers.0.conv": "output_blocks.1.2.conv",
        "up_blocks.1.resnets.0": "output_blocks.2.0",
        "up_blocks.1.resnets.1": "output_blocks.3.0",
    }
    layers_of_block = {
        "norm1": "in_layers.0",
        "conv1": "in_layers.2",
        "time_emb_proj": "emb_layers.1",
        "norm2": "out_layers.0",
        "conv2": "out_layers.3",
        "conv_shortcut": "skip_connection",
    }
    original = {}
    for name, tensor in state.items():
        if name in names:
            original[names[name]] = tensor
            continue
        place = next(place for place in places if name.startswith(place + "."))
        rest = name.removeprefix(place + ".")
        if "resnets" in place:
            layer, _, kind = rest.rpartition(".")
            rest = f"{layers_of_block[layer]}.{kind}"
        original[f"{places[place]}.{rest}"] = tensor
    return original


def _original_codec(codec: AutoencoderKL) -> dict[str, Tensor]:
    names = single_file_utils.DIFFUSERS_TO_LDM_MAPPING["vae"]
    attention = {"to_q": "q", "to_k": "k", "to_v": "v", "to_out.0": "proj_out", "group_norm": "norm"}
    last = len(codec.config.block_out_channels) - 1
    original = {}
    for name, tensor in codec.state_dict().items():
        if name in names:
            original[names[name]] = tensor
            continue
        side, block, *rest = name.split(".")
        if block == "mid_block" and rest[0] == "resnets":
            found = f"{side}.mid.block_{int(rest[1]) + 1}." + ".".join(rest[2:])
        elif block == "mid_block":
            layer, _, kind = ".".join(rest[2:]).rpartition(".")
            found = f"{side}.mid.attn_1.{attention[layer]}.{kind}"
            tensor = tensor[..., None, None] if layer != "group_norm" and kind == "weight" else tensor
        else:
            level = int(rest[0]) if side == "encoder" else last - int(rest[0])
            way = "down" if side == "encoder" else "up"
            kind = "block." + rest[2] if rest[1] == "resnets" else f"{way}sample"
            found = f"{side}.{way}.{level}.{kind}." + ".".join(rest[3:])
        original[found.replace("conv_shortcut", "nin_shortcut")] = tensor
    return original


def _open_clip(encoder: CLIPTextModelWithProjection) -> list[tuple[str, Tensor]]:
    mapping = single_file_utils.DIFFUSERS_TO_LDM_MAPPING["openclip"]
    state = {
        name if name.startswith("text_") else f"text_model.{name}": tensor
        for name, tensor in encoder.state_dict().items()
    }
    found = {}
    for name, tensor in state.items():
        if name in mapping["layers"]:
            found[mapping["layers"][name]] = tensor.T if name == "text_projection.weight" else tensor
        elif ".q_proj." in name:
            both = [state[name.replace(".q_proj.", f".{part}_proj.")] for part in "qkv"]
            kind = name.rpartition(".")[2]
            stem = name.partition(".self_attn.")[0].replace("text_model.encoder.layers.", "transformer.resblocks.")
            found[f"{stem}.attn.in_proj_{kind}"] = torch.cat(both)
        elif ".k_proj." not in name and ".v_proj." not in name:
            for new, old in mapping["transformer"].items():
                name = name.replace(new, old)
            found[f"transformer.{name}"] = tensor
    return list(found.items())


def backbone(path: Path | str, name: str, **changes: Any) -> StableDiffusion:
    """The backbone of such a folder or file."""
    own: dict[str, Any] = {"name": name, "path": str(path), "token_width": "enough", "config_path": "nowhere"}
    own |= {"prediction": "epsilon", "zero_terminal_snr": False}
    return StableDiffusion(**tiny.MODEL | own | changes)
