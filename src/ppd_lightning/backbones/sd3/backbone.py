"""What every model on a transformer of Stable Diffusion 3's kind shares: its network, path and sampler.

B = batch, L = text tokens, C = text width, C' = pooled text width.
"""

from __future__ import annotations

from abc import ABC
from collections.abc import Iterator
from typing import TYPE_CHECKING, Annotated, Any

from pydantic import Field, Strict

from ppd_lightning.backbones.backbone import Backbone
from ppd_lightning.settings.part import settings

if TYPE_CHECKING:  # a configuration is checked without them
    import torch
    from torch import Tensor, nn

    from ppd_lightning.backbones.interfaces import Conditions
    from ppd_lightning.backbones.user_branch import TokenWidth, UserBranch
    from ppd_lightning.diffusion.deterministic import DeterministicSampler
    from ppd_lightning.diffusion.straight import StraightPath

DRAWING_MODULES = (
    "ppd_lightning.backbones.attention_sites",
    *(f"ppd_lightning.backbones.sd3.{name}" for name in ("pretrained", "user_sites", "velocity")),
    *(f"ppd_lightning.diffusion.{name}" for name in ("deterministic", "path", "straight")),
)


PATCH = 2
"""Positions of latents to one of the network's tokens, in each direction."""


@settings
class TransformerBackbone(Backbone, ABC):
    """An `SD3Transformer2DModel` that predicts velocities on a straight path.

    The conditions are `text` (B, L, C) and `text_pooled` (B, C') unless a derived class says otherwise. Derived classes
    have the parts, the text encoders, the codec with its stride, and what is said of the model.
    """

    shift: Annotated[float, Strict(), Field(ge=0.01, le=100)]
    """How much more time the path spends at high noise, in training and drawing; 1 is none."""

    @property
    def text_arrays(self) -> tuple[str, ...]:
        """See `Backbone`."""
        return "text", "text_pooled"

    @property
    def diffusion_path(self) -> StraightPath:
        """The straight path; the target is the velocity, noise minus latents."""
        from ppd_lightning.diffusion.straight import StraightPath

        return StraightPath(self.shift)

    def contradictions_with(self, image_size: int) -> Iterator[str]:
        """See `Backbone`; the network reads tokens of two by two positions."""
        yield from super().contradictions_with(image_size)
        token = self.stride * PATCH
        if image_size % self.stride == 0 and image_size % token:
            yield (
                f"data.image_size: {image_size} pixels are off the grid of {self.name}'s tokens; use a multiple of "
                f"{token}"
            )

    def prediction_settings(self) -> dict[str, Any]:
        """See `Backbone`."""
        return {"shift": self.shift}

    def predict(self, network: nn.Module, noised: Tensor, t: Tensor, conditions: Conditions) -> Tensor:
        """The predicted velocity (B, ...) float32; see `predict_velocity`."""
        from ppd_lightning.backbones.sd3.velocity import predict_velocity

        times = self.diffusion_path.network_time(t)
        return predict_velocity(network, noised, times, self._text(network, conditions), conditions["text_pooled"])

    def _text(self, network: nn.Module, conditions: Conditions) -> Tensor:
        """The text (B, L, C) that the network reads."""
        return conditions["text"]

    def _attach(
        self, network: nn.Module, embedding_dim: int, num_tokens: int, null: str, token_width: TokenWidth
    ) -> UserBranch:
        from ppd_lightning.backbones.sd3.user_sites import attach_user_branch

        return attach_user_branch(network, embedding_dim, num_tokens=num_tokens, null=null, token_width=token_width)

    def load_network(self, dtype: torch.dtype | None = None) -> nn.Module:
        """The frozen transformer, its weights in `dtype`; None is float32."""
        from diffusers import SD3Transformer2DModel

        from ppd_lightning.backbones.diffusers_parts import load_network

        config, *weights = (file for file in self.files("prior") if not file.name.endswith(".index.json"))
        network: nn.Module = load_network(SD3Transformer2DModel, config, *weights, dtype=dtype)
        return network

    def sampler(self) -> DeterministicSampler:
        """A new sampler: Euler's method on the path."""
        from ppd_lightning.diffusion.deterministic import DeterministicSampler

        return DeterministicSampler(self.diffusion_path)
