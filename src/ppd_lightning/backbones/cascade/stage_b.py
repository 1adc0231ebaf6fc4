"""Stage C latents to pictures, in full: Stage B draws the latents of Stage A, Stage A decodes them.

B = batch, H, W = height and width of Stage C's latents, C' = pooled text width.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from diffusers import StableCascadeUNet
from torch import Tensor

from ppd_lightning.backbones.cascade.sampler import DDPMSampler
from ppd_lightning.backbones.cascade.stage_a import StageADecoder

CHANNELS = 4
# Height and width of Stage A's latents for one of Stage C's: 24 become 256, and those 1024 pixels.
SCALE = 10.67


class StageBDecoder:
    """Draws pictures as diffusers' `StableCascadeDecoderPipeline` does without guidance, to the bit in fp32.

    The noise of an image comes from its own generator and in fp32, and so do the steps of the sampler: an image has the
    same noise in any batch and for weights of any dtype.

    Args:
        decoder: Stage B.
        stage_a: on the same device.
        sampler: of Stage B.
        steps: of the sampler.
    """

    def __init__(
        self, decoder: StableCascadeUNet, stage_a: StageADecoder, sampler: DDPMSampler, steps: int = 10
    ) -> None:
        self.decoder, self.stage_a, self.sampler, self.steps = decoder, stage_a, sampler, steps

    @torch.no_grad()
    def __call__(self, latents: Tensor, text_pooled: Tensor, generators: Sequence[torch.Generator]) -> Tensor:
        """Draw a batch.

        Args:
            latents: (B, 16, H, W) of Stage C, on the decoder's device.
            text_pooled: (B, 1, C') pooled text states of the captions, on the same device.
            generators: B generators on the CPU, one for each image; they are used up by what is drawn.

        Returns:
            images (B, 3, h, w) float32 in [0, 1]; 24x24 latents become 1024x1024.

        Raises:
            ValueError: lengths that differ.
        """
        count, _, height, width = latents.shape
        if not count == len(text_pooled) == len(generators):
            raise ValueError(
                "latents, text_pooled and generators must have one entry for each image, "
                f"got {count}, {len(text_pooled)} and {len(generators)}"
            )
        dtype, device = self.decoder.dtype, latents.device
        shape = CHANNELS, int(height * SCALE), int(width * SCALE)
        drawn = torch.stack([torch.randn(shape, generator=generator) for generator in generators]).to(device)
        conditions = {"clip_text_pooled": text_pooled.to(dtype), "effnet": latents.to(dtype), "return_dict": False}
        for t in self.sampler.timesteps(self.steps, device):
            noise = self.decoder(drawn.to(dtype), t.expand(count).to(dtype), **conditions)[0].float()
            drawn = self.sampler.step(noise, t, drawn, generators)
        scaled = self.stage_a.scale_factor * drawn
        images: Tensor = self.stage_a(scaled.to(self.stage_a.dtype))
        return images.float().clamp(0, 1)
