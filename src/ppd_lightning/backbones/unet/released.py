"""Stable Diffusion 1.5 and XL as they were released: files, sizes, licences, texts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from ppd_lightning.backbones.files import ModelPart, network_files

KINDS = ("", ".fp16", ".bf16")


@dataclass(frozen=True)
class Release:
    """One model.

    title: what people call it. hub: its repository. pipelines: diffusers' classes whose folders it is in.
    licence: its name, as the hub's metadata have it. terms: sentences on it. parts: by name. encoders: of text.
    side: pixels of the images that it was trained on last. caption_numbers: that are stored of a caption.
    """

    title: str
    hub: str
    pipelines: tuple[str, ...]
    licence: str
    terms: str
    parts: Mapping[str, ModelPart]
    encoders: int
    side: int
    caption_numbers: int


def _parts(hub: str, licence: str, encoders: int, sizes: Mapping[str, str]) -> Mapping[str, ModelPart]:
    suffixes = ("", "_2")[:encoders]

    def of_all(files: Sequence[str]) -> tuple[str, ...]:
        return tuple(file.format(suffix) for suffix in suffixes for file in files)

    text = tuple(of_all(way) for way in network_files("text_encoder{}", "model", KINDS))
    tokenizer = (
        of_all(("tokenizer{}/tokenizer_config.json", "tokenizer{}/vocab.json", "tokenizer{}/merges.txt")),
        of_all(("tokenizer{}/tokenizer_config.json", "tokenizer{}/tokenizer.json")),
    )

    def part(ways: tuple[tuple[str, ...], ...], name: str, *, of_codec: bool = False) -> ModelPart:
        return ModelPart(ways, hub, sizes[name], licence, of_codec)

    codec = part(network_files("vae", kinds=KINDS), "codec", of_codec=True)
    return {
        "prior": part(network_files("unet", kinds=KINDS), "prior"),
        "text_encoder": part(text, "text_encoder"),
        "tokenizer": part(tokenizer, "tokenizer"),
        "scheduler": part((("scheduler/scheduler_config.json",),), "scheduler"),
        "encoder": codec,
        "decoder": codec,
    }


SMALL = {"tokenizer": "3 MB", "scheduler": "1 kB", "codec": "335 MB, or 167 MB as .fp16"}
SD15_HUB, SDXL_HUB = "stable-diffusion-v1-5/stable-diffusion-v1-5", "stabilityai/stable-diffusion-xl-base-1.0"

RELEASES: Mapping[str, Release] = {
    "sd15": Release(
        title="Stable Diffusion 1.5",
        hub=SD15_HUB,
        pipelines=("StableDiffusionPipeline",),
        licence="creativeml-openrail-m",
        terms=(
            "Stable Diffusion 1.5's weights are under the [CreativeML Open RAIL-M licence]"
            "(https://huggingface.co/spaces/CompVis/stable-diffusion-license): commercial use is allowed, and the uses "
            "that its attachment A lists are not. Whoever passes on what is derived of them passes on these "
            "restrictions, so they apply to this adapter too."
        ),
        parts=_parts(
            SD15_HUB,
            "CreativeML Open RAIL-M: commercial use allowed, some uses are not",
            1,
            SMALL | {"prior": "3.4 GB, or 1.7 GB as .fp16", "text_encoder": "492 MB, or 246 MB as .fp16"},
        ),
        encoders=1,
        side=512,
        caption_numbers=77 * 768 + 768,
    ),
    "sdxl": Release(
        title="Stable Diffusion XL",
        hub=SDXL_HUB,
        pipelines=("StableDiffusionXLPipeline",),
        licence="openrail++",
        terms=(
            "Stable Diffusion XL's weights are under the [CreativeML Open RAIL++-M licence]"
            f"(https://huggingface.co/{SDXL_HUB}/blob/main/LICENSE.md): commercial use is allowed, and the uses that "
            "its attachment A lists are not. Whoever passes on what is derived of them passes on these restrictions, "
            "so they apply to this adapter too."
        ),
        parts=_parts(
            SDXL_HUB,
            "CreativeML Open RAIL++-M: commercial use allowed, some uses are not",
            2,
            SMALL | {"prior": "10.3 GB, or 5.1 GB as .fp16", "text_encoder": "3.3 GB, or 1.6 GB as .fp16"},
        ),
        encoders=2,
        side=1024,
        caption_numbers=77 * 2048 + 1280,
    ),
}
