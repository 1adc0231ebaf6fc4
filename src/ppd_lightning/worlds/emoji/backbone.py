"""The mini Stable Cascade of the embedded world: 64 pixels, emoji and nothing else; it runs on any CPU."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar, Literal

from ppd_lightning.backbones.card_facts import DrawingCode
from ppd_lightning.backbones.cascade.backbone import DRAWING_MODULES, FOLDERS, FP16, CascadeBackbone
from ppd_lightning.backbones.files import ModelPart, network_files
from ppd_lightning.settings.part import settings
from ppd_lightning.worlds.emoji.model import SHARED_PARTS, EmojiModel

PARTS: Mapping[str, ModelPart] = {
    "prior": ModelPart(network_files("prior")),
    "scheduler": ModelPart((("scheduler/scheduler_config.json",),)),
    **SHARED_PARTS,
}


@settings
class EmojiBackbone(EmojiModel, CascadeBackbone):
    """The emoji model."""

    name: Literal["emoji"]
    """The mini Stable Cascade that ships with the project."""

    tags: ClassVar[tuple[str, ...]] = ("stable-cascade",)
    limits: ClassVar[tuple[str, ...]] = (FP16,)

    @property
    def title(self) -> str:
        """What people call the model."""
        return "the emoji model of ppd-lightning"

    @property
    def parts(self) -> Mapping[str, ModelPart]:
        """Its parts by name; the codec is one network."""
        return PARTS

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
