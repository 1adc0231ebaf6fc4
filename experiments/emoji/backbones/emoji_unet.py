"""A small network like Stable Diffusion XL's in the embedded world: a backbone from outside of the package."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, Literal

from ppd_lightning.backbones.card_facts import DrawingCode
from ppd_lightning.backbones.cascade.texts import CascadeTexts
from ppd_lightning.backbones.files import ModelPart, network_files
from ppd_lightning.backbones.interfaces import Decoder
from ppd_lightning.errors import UserError
from ppd_lightning.settings.part import settings
from ppd_lightning.worlds.emoji.model import SHARED_PARTS, EmojiModel

if TYPE_CHECKING:  # a configuration is checked without them
    import torch
    from torch import Tensor, nn

    from ppd_lightning.backbones.interfaces import Conditions
    from ppd_lightning.backbones.user_branch import TokenWidth, UserBranch
    from ppd_lightning.diffusion.betas import BetasPath
    from ppd_lightning.diffusion.deterministic import DeterministicSampler

PARTS: Mapping[str, ModelPart] = {"prior": ModelPart(network_files("unet")), **SHARED_PARTS}


@cache
def _path() -> BetasPath:
    """Made once: every batch asks for it."""
    from ppd_lightning.diffusion.betas import BetasPath

    return BetasPath()


@settings
class EmojiUNet(EmojiModel, CascadeTexts):
    """A `UNet2DConditionModel` that predicts the noise; codec, text encoder and tokenizer are those that ship."""

    name: Literal["emoji_unet"]
    """The small UNet of this study; `experiments/emoji/base/unet.py` makes the folder that `path` is."""

    latent_channels: ClassVar[int] = 16
    decoder_parts: ClassVar[dict[Decoder, str]] = {"full": "decoder", "preview": "previewer"}
    tags: ClassVar[tuple[str, ...]] = ("stable-diffusion-xl",)

    @property
    def title(self) -> str:
        """What people call the model."""
        return "the emoji UNet of a study of ppd-lightning"

    @property
    def parts(self) -> Mapping[str, ModelPart]:
        """Its parts by name; the codec is one network."""
        return PARTS

    @property
    def shipped_folder(self) -> Path | None:
        """None: it is made where it is needed."""
        return None

    @property
    def diffusion_path(self) -> BetasPath:
        """Stable Diffusion's table of 1000 steps; the target is the noise."""
        return _path()

    def predict(self, network: nn.Module, noised: Tensor, t: Tensor, conditions: Conditions) -> Tensor:
        """The predicted noise (B, 16, H, W) float32; see `predict_with_unet`."""
        from ppd_lightning.backbones.unet.prediction import predict_with_unet

        time = self.diffusion_path.network_time(t)
        return predict_with_unet(network, noised, time, conditions["text"], conditions["text_pooled"].flatten(1))

    def _attach(
        self, network: nn.Module, embedding_dim: int, num_tokens: int, null: str, token_width: TokenWidth
    ) -> UserBranch:
        from ppd_lightning.backbones.unet.user_sites import attach_user_branch

        return attach_user_branch(network, embedding_dim, num_tokens=num_tokens, null=null, token_width=token_width)

    def load_network(self, dtype: torch.dtype | None = None) -> nn.Module:
        """The frozen UNet, its weights in `dtype`; None is float32."""
        from diffusers import UNet2DConditionModel

        from ppd_lightning.backbones.diffusers_parts import load_network

        network: nn.Module = load_network(UNet2DConditionModel, *self.files("prior"), dtype=dtype)
        return network

    def sampler(self) -> DeterministicSampler:
        """A new sampler: EulerDiscrete, as the released pipeline of XL draws."""
        from ppd_lightning.diffusion.deterministic import DeterministicSampler

        return DeterministicSampler(self.diffusion_path)

    def drawing_code(self) -> DrawingCode:
        """Refused: the network is used once.

        Raises:
            UserError: always.
        """
        raise UserError("model.name: emoji_unet is for a study and is not exported; use emoji or emoji_flow")
