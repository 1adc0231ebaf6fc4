"""The codec of Stable Cascade: EfficientNet to Stage C's latents; the previewer, or Stage B and A, back to pictures.

B = batch, C' = pooled text width.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TypeVar

import torch
from torch import Tensor

_Part = TypeVar("_Part")
Images = Callable[[Tensor], Tensor]
StageB = Callable[[Tensor, Tensor, Sequence[torch.Generator]], Tensor]


class StageCCodec:
    """Images to Stage C latents and back, by the parts that were loaded; None stands for one that was not.

    The weights of a part may have any dtype; images and latents are float32.

    Args:
        encoder: an `EfficientNetEncoder`.
        previewer: a `Previewer`.
        decoder: a `StageBDecoder`.
    """

    def __init__(
        self, encoder: Images | None = None, previewer: Images | None = None, decoder: StageB | None = None
    ) -> None:
        self.encoder, self.previewer, self.decoder = encoder, previewer, decoder

    def encode(self, images: Tensor) -> Tensor:
        """Images (B, 3, H, W) float in [0, 1] to latents (B, 16, H/32, W/32).

        Raises:
            ValueError: the encoder was not loaded, or images off the grid of 32 pixels.
        """
        return _loaded("encoder", self.encoder)(images)

    def preview(self, latents: Tensor) -> Tensor:
        """Latents (B, 16, h, w) to small images (B, 3, 8h, 8w) float in [0, 1], in one forward pass.

        Raises:
            ValueError: the previewer was not loaded.
        """
        return _loaded("previewer", self.previewer)(latents)

    def decode(
        self, latents: Tensor, conditions: Mapping[str, Tensor], generators: Sequence[torch.Generator]
    ) -> Tensor:
        """Latents (B, 16, h, w) to images float in [0, 1], 1024x1024 for 24x24.

        Args:
            latents: of Stage C.
            conditions: with `text_pooled` (B, 1, C'), pooled text states of the captions.
            generators: B generators on the CPU, one for each image.

        Raises:
            ValueError: the decoder was not loaded, or lengths differ.
        """
        return _loaded("decoder", self.decoder)(latents, conditions["text_pooled"], generators)


def _loaded(name: str, part: _Part | None) -> _Part:
    if part is None:
        raise ValueError(f"this codec was loaded without its {name}; name {name!r} among the parts to load")
    return part
