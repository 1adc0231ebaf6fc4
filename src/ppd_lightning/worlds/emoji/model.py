"""What the models of the embedded world share: the folder that ships, its codec, and what is said of them."""

from __future__ import annotations

import json
from abc import ABC
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

from ppd_lightning.backbones.backbone import Backbone
from ppd_lightning.backbones.card_facts import CardFacts
from ppd_lightning.backbones.files import ModelPart, network_files
from ppd_lightning.errors import UserError
from ppd_lightning.markdown import code
from ppd_lightning.settings.part import settings
from ppd_lightning.worlds.emoji.concepts import shipped_concepts
from ppd_lightning.worlds.emoji.vendors import credits_text

if TYPE_CHECKING:  # a configuration is checked without them
    import torch

    from ppd_lightning.worlds.emoji.codec import EmojiCodec

ASSETS = Path(__file__).with_name("assets")
"""The folder of the models that ship: one folder for each network, the other parts serve them all."""
CONCEPTS = 100
"""How many of the shipped list they were trained on."""

_CODEC = ModelPart(network_files("codec"))
SHARED_PARTS: Mapping[str, ModelPart] = {
    "text_encoder": ModelPart(network_files("text_encoder", "model")),
    "tokenizer": ModelPart((("tokenizer/tokenizer.json", "tokenizer/tokenizer_config.json"),)),
    "encoder": _CODEC,
    "previewer": _CODEC,
    "decoder": _CODEC,
}


@settings
class EmojiModel(Backbone, ABC):
    """A model of the embedded world; derived classes have the network."""

    stride: ClassVar[int] = 8
    tags: ClassVar[tuple[str, ...]]
    """What the model hub calls networks like this one."""
    limits: ClassVar[tuple[str, ...]] = ()
    """Sentences for the model card, beside the one on its size."""

    @property
    def image_sizes(self) -> tuple[int, int] | None:
        """A quarter to four times the 64 pixels of the weights that ship."""
        return (16, 256) if self.path is None else None

    @property
    def caption_numbers(self) -> int | None:
        """By the configuration of its text encoder, where that is there."""
        try:
            config = json.loads(self.files("text_encoder")[0].read_text(encoding="utf-8"))
            return int(config["max_position_embeddings"] * config["hidden_size"] + config["projection_dim"])
        except (UserError, ValueError, KeyError):
            return None

    @property
    def known_captions(self) -> frozenset[str] | None:
        """The concepts of the weights that ship."""
        return frozenset(shipped_concepts(CONCEPTS)) if self.path is None else None

    @property
    def shipped_folder(self) -> Path | None:
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
            origin = f"was {code(self.hub_name or Path(self.path).name)}"
        return CardFacts(
            front_matter={"license": "cc-by-sa-4.0"},
            tags=self.tags,
            origin=f"The base {origin}; FOLDER is where it lies.",
            base="FOLDER",
            codec=None,
            caption=None,
            limits=("The base is a mini model of 64 pixels that draws emoji and nothing else.", *self.limits),
            licence=(
                "The base and this adapter were learnt from the following and are under its terms, "
                "share-alike included.",
            ),
            credits=tuple(credits_text().splitlines()),
        )
