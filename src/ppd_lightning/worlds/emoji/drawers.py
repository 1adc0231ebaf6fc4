"""Who draws the generated pictures: the models that ship, well or badly used, so that quality and faithfulness vary.

Captions are the concepts' names, the only ones that the models were trained on; so what differs is how a caption is
drawn, not how hard it is.

B = pictures, H = W = side in pixels.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import torch
from torch import nn

from ppd_lightning.backbones.backbone import Backbone
from ppd_lightning.generation.pipeline import Guidance, UserPipeline
from ppd_lightning.worlds.emoji.backbone import EmojiBackbone
from ppd_lightning.worlds.emoji.flow_backbone import EmojiFlowBackbone


@dataclass(frozen=True)
class Drawer:
    """A model with settings of its sampler.

    name: in the pairs, the model of a picture. network: which of the two that ship. guidance: on the text; below 1 the
    concept is lost in part. steps: of the sampler; few of them blur. wear: deviation of the noise that is added to the
    weights of each layer, in deviations of these weights, as if the model were trained for a short time.
    """

    name: str
    network: Literal["cascade", "flow"]
    guidance: float
    steps: int
    wear: float = 0.0


DRAWERS = (
    Drawer("good", "cascade", 2.0, 10),
    Drawer("loose", "cascade", 0.5, 10),
    Drawer("hasty", "cascade", 3.0, 2),
    Drawer("worn", "cascade", 1.5, 10, wear=0.1),
    Drawer("flow", "flow", 2.0, 8),
    Drawer("flow_loose", "flow", 0.5, 4),
)
"""Each draws every caption equally often."""


def open_drawer(drawer: Drawer, image_size: int, seed: int) -> UserPipeline:
    """The model of a drawer, on the CPU.

    Args:
        seed: of the wear.

    Raises:
        UserError: a file of the models that ship is missing or damaged.
    """
    backbone = shipped(drawer.network)
    network = backbone.load_network().eval()
    if drawer.wear:
        wear_out(network, drawer.wear, seed)
    return UserPipeline.of(backbone, network, None, image_size=image_size)


def shipped(network: Literal["cascade", "flow"]) -> Backbone:
    """One of the models that ship, as `conf/model` has it."""
    own: dict[str, Any] = {"path": None, "codec_path": None, "num_tokens": 4, "null_user": "zero"}
    if network == "flow":
        return EmojiFlowBackbone(name="emoji_flow", **own, token_width="enough", shift=3.0)
    return EmojiBackbone(name="emoji", **own, token_width="network", arithmetic="fast")


@torch.no_grad()
def wear_out(network: nn.Module, wear: float, seed: int) -> None:
    """Add noise to every weight of two or more dimensions, `wear` deviations of its tensor."""
    generator = torch.Generator().manual_seed(seed)
    for weight in network.parameters():
        if weight.ndim > 1:
            weight.add_(torch.randn(weight.shape, generator=generator) * weight.std(), alpha=wear)


def draw_with(pipeline: UserPipeline, drawer: Drawer, captions: Sequence[str], seed: int) -> np.ndarray:
    """A picture of each of B captions with the noise of `seed`: (B, 3, H, W) uint8."""
    seeds = [seed] * len(captions)
    drawn = pipeline(captions, None, seeds, steps=drawer.steps, guidance=Guidance(text=drawer.guidance))
    pixels: np.ndarray = (drawn * 255).round().clamp(0, 255).to(torch.uint8).numpy()
    return pixels
