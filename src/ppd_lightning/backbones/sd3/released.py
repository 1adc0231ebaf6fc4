"""The released models of Stable Diffusion 3 and 3.5: their files, where these come from, and the terms."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from ppd_lightning.backbones.files import UNET, ModelPart, network_files, sharded_files

COMMUNITY = "Stability AI Community licence: free below 1 M$ of revenue a year"
WITHOUT_T5 = "leave T5 out by model.t5=false, as the released pipeline allows: zeros stand for its states"
KINDS = ("", ".bf16", ".fp16")
"""What the names of files of weights have for their precision."""
SHARDS = range(2, 9)
"""In how many files weights may lie, beside one."""


@dataclass(frozen=True)
class Release:
    """One released model.

    title: what people call it. hub: its repository on the model hub. network_size: of the network's files.
    shards: files of the released network's weights. blocks, dual: transformer blocks, and those with a second
    attention. qk_norm: how queries and keys are normalised.
    """

    title: str
    hub: str
    network_size: str
    shards: int
    blocks: int
    dual: int
    qk_norm: str | None

    @property
    def parts(self) -> Mapping[str, ModelPart]:
        """Its parts by name, T5 as `t5`."""
        return {
            "prior": self._part(_ways("transformer", UNET, self.shards), self.network_size),
            "text_encoder": self._part(
                tuple(
                    (*of_l, *of_g)
                    for of_l, of_g in zip(_one("text_encoder", "model"), _one("text_encoder_2", "model"), strict=True)
                ),
                "1.6 GB",
            ),
            "tokenizer": self._part(
                tuple((*_in("tokenizer", *files), *_in("tokenizer_2", *files)) for files in TOKENIZERS), "3 MB"
            ),
            "t5": self._part(
                tuple((*way, *_in("tokenizer_3", *TOKENIZERS[-1])) for way in _ways("text_encoder_3", "model", 2)),
                "9.5 GB",
                instead=WITHOUT_T5,
            ),
            "scheduler": self._part((("scheduler/scheduler_config.json",),), "1 kB"),
            "encoder": self._part(_one("vae", UNET), "168 MB", of_codec=True),
            "decoder": self._part(_one("vae", UNET), "168 MB", of_codec=True),
        }

    def _part(
        self, ways: tuple[tuple[str, ...], ...], size: str, *, of_codec: bool = False, instead: str = ""
    ) -> ModelPart:
        return ModelPart(ways, self.hub, size, COMMUNITY, of_codec=of_codec, instead=instead)


TOKENIZERS = (
    ("vocab.json", "merges.txt", "tokenizer_config.json", "special_tokens_map.json"),
    ("tokenizer.json", "tokenizer_config.json"),
)
"""The files of a CLIP tokenizer as they were released, and as transformers saves them now."""


def _in(folder: str, *names: str) -> tuple[str, ...]:
    return tuple(f"{folder}/{name}" for name in names)


def _one(folder: str, weights: str) -> tuple[tuple[str, ...], ...]:
    return network_files(folder, weights, KINDS)


def _ways(folder: str, weights: str, usual: int) -> tuple[tuple[str, ...], ...]:
    """In one file or in several, the usual number first."""
    ways = [*_one(folder, weights)]
    ways += [sharded_files(folder, weights, count, kind) for count in SHARDS for kind in KINDS]
    if usual > 1:
        ways.insert(0, sharded_files(folder, weights, usual))
    return tuple(dict.fromkeys(ways))


RELEASES: Mapping[str, Release] = {
    "sd35_medium": Release(
        title="Stable Diffusion 3.5 Medium",
        hub="stabilityai/stable-diffusion-3.5-medium",
        network_size="4.9 GB",
        shards=1,
        blocks=24,
        dual=13,
        qk_norm="rms_norm",
    ),
    "sd35_large": Release(
        title="Stable Diffusion 3.5 Large",
        hub="stabilityai/stable-diffusion-3.5-large",
        network_size="16.3 GB",
        shards=2,
        blocks=38,
        dual=0,
        qk_norm="rms_norm",
    ),
    "sd3_medium": Release(
        title="Stable Diffusion 3 Medium",
        hub="stabilityai/stable-diffusion-3-medium-diffusers",
        network_size="4.2 GB",
        shards=1,
        blocks=24,
        dual=0,
        qk_norm=None,
    ),
}
"""By the names that `model` takes. Blocks are as in diffusers' scripts/convert_sd3_to_diffusers.py."""


def caption_numbers(t5_tokens: int) -> int:
    """Numbers that are stored of a caption: 77 states of both CLIPs, those of T5, and the pooled ones."""
    of_clips = 768 + 1280
    return 77 * of_clips + t5_tokens * 4096 + of_clips
