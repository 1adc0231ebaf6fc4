"""What every model in Stable Cascade's layout shares: its network, path, text states and sampler.

B = batch, L = text tokens, C = text width, C' = pooled text width.
"""

from __future__ import annotations

from abc import ABC
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from ppd_lightning.backbones.cascade.texts import CascadeTexts
from ppd_lightning.light_imports import light_imports
from ppd_lightning.settings.part import settings

if TYPE_CHECKING:  # a configuration is checked without them
    import torch
    from torch import Tensor, nn

    from ppd_lightning.backbones.cascade.sampler import DDPMSampler
    from ppd_lightning.backbones.interfaces import Conditions, Decoder
    from ppd_lightning.backbones.user_branch import TokenWidth, UserBranch
    from ppd_lightning.diffusion.schedule import CosineSchedule

FOLDERS = "text_encoder/, tokenizer/ and scheduler/"
DRAWING_MODULES = tuple(
    f"ppd_lightning.backbones.cascade.{name}" for name in ("pretrained", "prior", "sampler", "text", "user_attention")
)
FP16 = "Use bf16 or fp32: Stage C overflows in fp16."


@settings
class CascadeBackbone(CascadeTexts, ABC):
    """A `StableCascadeUNet` that predicts noise in 16 channels, with CLIP text states.

    The conditions are `text` (B, L, C) and `text_pooled` (B, 1, C'). Derived classes have the parts, the codec with its
    stride, and what is said of the model.
    """

    arithmetic: Literal["fast", "stock"]
    """How the network computes: stock is diffusers' own to the bit, fast the same up to rounding in less time."""

    latent_channels: ClassVar[int] = 16
    decoder_parts: ClassVar[dict[Decoder, str]] = {"full": "decoder", "preview": "previewer"}

    @property
    def diffusion_path(self) -> CosineSchedule:
        """The cosine schedule; the target is the noise."""
        from ppd_lightning.diffusion.schedule import CosineSchedule

        return CosineSchedule()

    def prediction_settings(self) -> dict[str, Any]:
        """See `Backbone`."""
        return {"arithmetic": self.arithmetic}

    def predict(self, network: nn.Module, noised: Tensor, t: Tensor, conditions: Conditions) -> Tensor:
        """The predicted noise (B, 16, H, W) float32, without an image prompt; see `predict_noise`."""
        from ppd_lightning.backbones.cascade.prior import predict_noise

        return predict_noise(network, noised, t, conditions["text"], conditions["text_pooled"])

    def _attach(
        self, network: nn.Module, embedding_dim: int, num_tokens: int, null: str, token_width: TokenWidth
    ) -> UserBranch:
        from ppd_lightning.backbones.cascade.user_attention import attach_user_branch

        return attach_user_branch(network, embedding_dim, num_tokens=num_tokens, null=null, token_width=token_width)

    def compile_regions(self, network: nn.Module) -> None:
        """See `compile_blocks`."""
        from ppd_lightning.backbones.cascade.regions import compile_blocks

        compile_blocks(network)

    def load_network(self, dtype: torch.dtype | None = None) -> nn.Module:
        """The frozen Stage C, its weights in `dtype`; None is float32."""
        with light_imports():
            from diffusers import StableCascadeUNet

            from ppd_lightning.backbones.diffusers_parts import load_network

        config, weights = self.files("prior")
        return self._computing(load_network(StableCascadeUNet, config, weights, dtype=dtype))

    def _computing(self, network: nn.Module) -> nn.Module:
        """The network as `arithmetic` says."""
        if self.arithmetic == "fast":
            with light_imports():
                from ppd_lightning.backbones.cascade.arithmetic import use_fast_arithmetic

            use_fast_arithmetic(network)
        return network

    def sampler(self) -> DDPMSampler:
        """A new sampler, by the released scheduler.

        Raises:
            UserError: its file is missing or damaged.
        """
        with light_imports():
            from diffusers import DDPMWuerstchenScheduler

            from ppd_lightning.backbones.cascade.sampler import DDPMSampler
        from ppd_lightning.backbones.diffusers_parts import configured

        (config,) = self.files("scheduler")
        return DDPMSampler(configured(DDPMWuerstchenScheduler, config)())
