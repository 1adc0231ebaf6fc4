"""The mini Stable Diffusion 3 of the embedded world, on the latents and texts of its mini Stable Cascade."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, ClassVar, Literal

from ppd_lightning.backbones.card_facts import DrawingCode
from ppd_lightning.backbones.cascade.texts import CascadeTexts
from ppd_lightning.backbones.files import ModelPart, network_files
from ppd_lightning.backbones.sd3.backbone import DRAWING_MODULES, TransformerBackbone
from ppd_lightning.settings.part import settings
from ppd_lightning.worlds.emoji.model import SHARED_PARTS, EmojiModel

if TYPE_CHECKING:  # a configuration is checked without it
    from ppd_lightning.backbones.interfaces import Decoder

PARTS: Mapping[str, ModelPart] = {"prior": ModelPart(network_files("transformer")), **SHARED_PARTS}


@settings
class EmojiFlowBackbone(EmojiModel, CascadeTexts, TransformerBackbone):
    """The emoji model that predicts velocities; codec, text encoder and tokenizer are those of `model=emoji`."""

    name: Literal["emoji_flow"]
    """The mini Stable Diffusion 3 that ships with the project."""

    latent_channels: ClassVar[int] = 16
    decoder_parts: ClassVar[dict[Decoder, str]] = {"full": "decoder", "preview": "previewer"}
    tags: ClassVar[tuple[str, ...]] = ("stable-diffusion-3",)

    @property
    def title(self) -> str:
        """What people call the model."""
        return "the emoji flow model of ppd-lightning"

    @property
    def parts(self) -> Mapping[str, ModelPart]:
        """Its parts by name; the codec is one network."""
        return PARTS

    def drawing_code(self) -> DrawingCode:
        """The code that an export carries."""
        own = ("codec", "pretrained_flow")
        return DrawingCode(
            modules=(
                *DRAWING_MODULES,
                "ppd_lightning.backbones.cascade.text",
                *(f"ppd_lightning.worlds.emoji.{name}" for name in own),
            ),
            base="ppd_lightning.worlds.emoji.pretrained_flow.PretrainedEmojiFlow",
            base_folders="transformer/, text_encoder/ and tokenizer/",
            codec_folders="codec/",
            settings={"network": "transformer", "shift": self.shift},
            encodes=True,
        )
