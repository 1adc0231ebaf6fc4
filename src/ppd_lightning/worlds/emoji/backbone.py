"""The mini Stable Cascade of the embedded world: 64 pixels, emoji and nothing else; it runs on any CPU."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, Literal

from ppd_lightning.backbones.card_facts import CardFacts, DrawingCode
from ppd_lightning.backbones.cascade.backbone import DRAWING_MODULES, FOLDERS, FP16, CascadeBackbone
from ppd_lightning.backbones.files import ModelPart, network_files
from ppd_lightning.settings.part import settings
from ppd_lightning.worlds.emoji.vendors import credits_text

if TYPE_CHECKING:  # a configuration is checked without it
    import torch

    from ppd_lightning.worlds.emoji.codec import EmojiCodec

ASSETS = Path(__file__).with_name("assets")
"""The folder of the model that ships."""

_CODEC = ModelPart(network_files("codec"))
PARTS: Mapping[str, ModelPart] = {
    "prior": ModelPart(network_files("prior")),
    "text_encoder": ModelPart(network_files("text_encoder", "model")),
    "tokenizer": ModelPart((("tokenizer/tokenizer.json", "tokenizer/tokenizer_config.json"),)),
    "scheduler": ModelPart((("scheduler/scheduler_config.json",),)),
    "encoder": _CODEC,
    "previewer": _CODEC,
    "decoder": _CODEC,
}


@settings
class EmojiBackbone(CascadeBackbone):
    """The emoji model."""

    name: Literal["emoji"]
    """The mini Stable Cascade that ships with the project."""

    stride: ClassVar[int] = 8

    @property
    def title(self) -> str:
        """What people call the model."""
        return "the emoji model of ppd-lightning"

    @property
    def image_sizes(self) -> tuple[int, int] | None:
        """A quarter to four times the 64 pixels of the weights that ship."""
        return (16, 256) if self.path is None else None

    @property
    def parts(self) -> Mapping[str, ModelPart]:
        """Its parts by name; the codec is one network."""
        return PARTS

    @property
    def shipped_folder(self) -> Path:
        """The folder of the model in this package."""
        return ASSETS

    def load_codec(self, device: torch.device | str = "cpu", *needs: str) -> EmojiCodec:
        """The codec, whole."""
        from ppd_lightning.backbones.diffusers_parts import load_network
        from ppd_lightning.worlds.emoji.codec import EmojiCodec

        config, weights = self.files("encoder")
        codec: EmojiCodec = load_network(EmojiCodec, config, weights).to(device)
        return codec

    def card_facts(self) -> CardFacts:
        """What the model card of an adapter says about it."""
        origin = "ships with ppd-lightning as `worlds/emoji/assets`"
        if self.path is not None:
            origin = f"was `{self.hub_name or Path(self.path).name}`"
        return CardFacts(
            front_matter={"license": "cc-by-sa-4.0"},
            tags=("stable-cascade",),
            origin=f"The base {origin}; FOLDER is where it lies.",
            base="FOLDER",
            codec=None,
            caption=None,
            limits=("The base is a mini model of 64 pixels that draws emoji and nothing else.", FP16),
            licence=(
                "The base and this adapter were learnt from the following and are under its terms, "
                "share-alike included.",
            ),
            credits=tuple(credits_text().splitlines()),
        )

    def drawing_code(self) -> DrawingCode:
        """The code that an export carries."""
        own = ("codec", "pretrained_codec")
        return DrawingCode(
            modules=(*DRAWING_MODULES, *(f"ppd_lightning.worlds.emoji.{name}" for name in own)),
            base="ppd_lightning.worlds.emoji.pretrained_codec.PretrainedEmoji",
            base_folders=f"prior/, {FOLDERS}",
            codec_folders="codec/",
            settings={"network": "prior"},
            encodes=True,
        )
