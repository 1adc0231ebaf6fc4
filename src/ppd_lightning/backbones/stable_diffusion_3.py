"""Stable Diffusion 3 and 3.5 as Stability AI released them, in diffusers' layout."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, ClassVar, Literal

from pydantic import Field, Strict

from ppd_lightning.backbones.card_facts import CardFacts, DrawingCode
from ppd_lightning.backbones.files import UNET, ModelPart, find, network_files, read_json, sharded_files
from ppd_lightning.backbones.sd3.backbone import DRAWING_MODULES, TransformerBackbone
from ppd_lightning.settings.part import settings
from ppd_lightning.settings.values import Switch
from ppd_lightning.storage.fingerprints import fingerprint

if TYPE_CHECKING:  # a configuration is checked without them
    import torch
    from torch import Tensor, nn
    from transformers import CLIPTokenizer

    from ppd_lightning.backbones.interfaces import Codec, Conditions, Decoder
    from ppd_lightning.backbones.sd3.text import TextStates
    from ppd_lightning.backbones.user_branch import UserBranch

HUBS = {
    "sd35_medium": "stabilityai/stable-diffusion-3.5-medium",
    "sd35_large": "stabilityai/stable-diffusion-3.5-large",
    "sd3_medium": "stabilityai/stable-diffusion-3-medium-diffusers",
}
TITLES = {
    "sd35_medium": "Stable Diffusion 3.5 Medium",
    "sd35_large": "Stable Diffusion 3.5 Large",
    "sd3_medium": "Stable Diffusion 3 Medium",
}
COMMUNITY = "Stability AI Community licence, free for those with less than 1 M$ revenue a year"
WITHOUT_T5 = "leave T5 out with model.t5=false, where zeros stand for its states, as the released pipeline allows"
PATCH = 2
"""Positions of latents to one of the network's tokens, in each direction."""


def _parts(hub: str, size: str, shards: int) -> Mapping[str, ModelPart]:
    def part(ways: tuple[tuple[str, ...], ...], size: str, *, of_codec: bool = False, instead: str = "") -> ModelPart:
        return ModelPart(ways, hub, size, COMMUNITY, of_codec=of_codec, instead=instead)

    clips = tuple(
        (*first, *second)
        for first, second in zip(
            network_files("text_encoder", "model"), network_files("text_encoder_2", "model"), strict=True
        )
    )
    network = (*sharded_files("transformer", UNET, shards), *network_files("transformer"))
    t5 = (*sharded_files("text_encoder_3", "model", 2), *network_files("text_encoder_3", "model"))
    words = ("tokenizer_3/tokenizer.json", "tokenizer_3/tokenizer_config.json")
    vae = part(network_files("vae"), "168 MB", of_codec=True)
    return {
        "prior": part(network if shards > 1 else network[::-1], size),
        "text_encoder": part(clips, "1.6 GB"),
        "tokenizer": part(_tokenizers(), "3 MB"),
        "t5": part(tuple((*way, *words) for way in t5), "9.5 GB", instead=WITHOUT_T5),
        "scheduler": part((("scheduler/scheduler_config.json",),), "1 kB"),
        "encoder": vae,
        "decoder": vae,
    }
