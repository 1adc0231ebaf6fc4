"""The LAION aesthetic predictor, version 2: how much people like a picture, whatever its caption.

Source: christophschuhmann/improved-aesthetic-predictor, `simple_inference.py`.

B = batch, H, W = height and width, D = width of the features.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property, partial

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ppd_lightning.backbones.weights import load_weights
from ppd_lightning.errors import UserError
from ppd_lightning.rewards.head import ScoreHead
from ppd_lightning.rewards.open_clip import OpenClipBased, whole_model
from ppd_lightning.rewards.open_clip_model import OpenClipModel
from ppd_lightning.rewards.sources import Role


class _TowerAndHead(nn.Module):
    def __init__(self, tower: nn.Module, head: ScoreHead) -> None:
        super().__init__()
        self.tower, self.head = tower, head


class AestheticReward(OpenClipBased):
    """A linear head on the features of OpenAI's CLIP ViT-L/14; around 5 to 6.5 for drawn pictures.

    Args:
        architecture: see OpenClipBased; ViT-L-14-quickgelu for OpenAI's weights.
    """

    needs_captions = False
    roles = {
        "model": whole_model("timm/vit_large_patch14_clip_224.openai on the model hub", "1.7 GB", "MIT"),
        "head": Role(
            (("sac+logos+ava1-l14-linearMSE.pth",),),
            "github.com/christophschuhmann/improved-aesthetic-predictor",
            "3.7 MB",
            "Apache-2.0",
            single=True,
        ),
    }

    @cached_property
    def model(self) -> OpenClipModel:
        """See OpenClipBased.

        Raises:
            UserError: its activations are others than OpenAI's; such features give plausible, wrong scores.
        """
        model = super().model
        if not model.network.get("quick_gelu"):
            where = f"rewards.{self.name}.options.architecture" if self.architecture else str(self.paths("model")[0])
            raise UserError(
                f"{where}: a network without quick_gelu, which OpenAI's ViT-L/14 has and the head was trained on; "
                "expected ViT-L-14-quickgelu, or a folder with quick_gelu true in its model_cfg"
            )
        return model

    def load(self) -> nn.Module:
        """See Reward. The head stays in fp32."""
        tower = self.model.load(self.paths("model")[-1], self.dtype).visual
        head = partial(ScoreHead, self.model.network["embed_dim"])
        return _TowerAndHead(tower, load_weights(head, self.paths("head")[0], pickles=True))

    @torch.no_grad()
    def image_features(self, pixels: Tensor) -> Tensor:
        """Pixels to features (B, D) of length 1."""
        tower = self.network.get_submodule("tower")
        return F.normalize(tower(self.model.transform.normalise(pixels, self.device, self.dtype)).float(), dim=-1)

    @torch.no_grad()
    def scores(self, features: Tensor, captions: Sequence[str]) -> Tensor:
        """See Reward; the captions do not count."""
        scores: Tensor = self.network.get_submodule("head")(features.to(self.device).float())
        return scores
