"""Stage B and Stage A of Stable Cascade from a released folder, by diffusers alone: `ppd export` carries this."""

from __future__ import annotations

import torch
from diffusers import StableCascadeUNet

from ppd_lightning.backbones.cascade.codec import StageCCodec
from ppd_lightning.backbones.cascade.pretrained import PretrainedCascade
from ppd_lightning.backbones.cascade.stage_a import StageADecoder
from ppd_lightning.backbones.cascade.stage_b import StageBDecoder


class PretrainedStageC(PretrainedCascade):
    """Stable Cascade; the codec's folder has decoder/ and vqgan/."""

    stride = 32

    def load_codec(self, device: torch.device | str, *needs: str) -> StageCCodec:
        """Stage B, in bf16 on a GPU, and Stage A."""
        dtype = torch.bfloat16 if torch.device(device).type == "cuda" else torch.float32
        stage_b = self._pretrained(StableCascadeUNet, self.codec, "decoder", torch_dtype=dtype).to(device)
        stage_a = StageADecoder.from_pretrained(self.codec, subfolder="vqgan").to(device)
        return StageCCodec(decoder=StageBDecoder(stage_b, stage_a, self.sampler()))
