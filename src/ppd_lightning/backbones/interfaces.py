"""What drawing needs of a base, whichever model family it is.

B = batch, H, W = height and width of an image.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Literal, Protocol

import torch
from torch import Tensor, nn

Decoder = Literal["full", "preview"]
"""Whether latents are decoded in full, or to small pictures at little cost."""

Conditions = Mapping[str, Tensor]
"""What a network reads beside the noised latents, by name, each (B, ...): the text encoder's states of B captions."""

TextEncoder = Callable[[list[str]], dict[str, Tensor]]
"""B captions to their states, by name, each (B, ...)."""


class Codec(Protocol):
    """Images to a base's latents and back."""

    def encode(self, images: Tensor) -> Tensor:
        """Images (B, 3, H, W) float in [0, 1] to latents (B, ...)."""

    def preview(self, latents: Tensor) -> Tensor:
        """Latents (B, ...) to small images (B, 3, H', W') float in [0, 1], at little cost."""

    def decode(self, latents: Tensor, conditions: Conditions, generators: Sequence[torch.Generator]) -> Tensor:
        """Latents (B, ...) to full images (B, 3, H'', W'') float in [0, 1].

        Args:
            latents: what the network drew.
            conditions: of the captions, each (B, ...).
            generators: of the CPU, one for each image, where decoding draws noise.
        """


class Sampler(Protocol):
    """From noise to latents by a network's predictions. One object draws one batch at a time."""

    def timesteps(self, steps: int, device: torch.device | str) -> Tensor:
        """The times (steps,) at which predictions are made, in the order of drawing."""

    def step(self, prediction: Tensor, t: Tensor, latents: Tensor, generators: Sequence[torch.Generator]) -> Tensor:
        """Latents (B, ...) at time t () to those at the next time.

        Args:
            prediction: (B, ...) of the network.
            t: one of `timesteps`, which were asked for before.
            latents: (B, ...).
            generators: B generators of the CPU, where the sampler adds noise.
        """


class Base(Protocol):
    """A frozen text-to-image model to draw with."""

    @property
    def decoder_parts(self) -> Mapping[Decoder, str]:
        """The part of the codec that each decoder needs."""

    def latent_shape(self, image_size: int) -> tuple[int, ...]:
        """The shape of one image's latents; `image_size` is the side in pixels of the images that are encoded."""

    def predict(self, network: nn.Module, noised: Tensor, t: Tensor, conditions: Conditions) -> Tensor:
        """The network's prediction (B, ...) float32 of noised latents (B, ...) at times t (B,)."""

    def null_text(self, text: TextEncoder) -> Mapping[str, Tensor]:
        """The conditions (1, ...) that text guidance leads away from, by the text encoder of this base."""

    def sampler(self) -> Sampler:
        """A new sampler."""

    def load_codec(self, device: torch.device | str, *needs: str) -> Codec:
        """The codec with the parts of it that are named."""

    def load_text(self, device: torch.device | str) -> TextEncoder:
        """The frozen text encoder with its tokenizer."""
