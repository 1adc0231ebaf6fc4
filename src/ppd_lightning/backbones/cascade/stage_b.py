"""Stage C latents to pictures, in full: Stage B draws the latents of Stage A, Stage A decodes them.

B = batch, H, W = height and width of Stage C's latents, C' = pooled text width.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from diffusers import DDPMWuerstchenScheduler, StableCascadeUNet
from diffusers.pipelines.deprecated.wuerstchen.modeling_paella_vq_model import PaellaVQModel
from torch import Tensor

CHANNELS = 4
# Height and width of Stage A's latents for one of Stage C's: 24 become 256, and those 1024 pixels.
SCALE = 10.67


class StageBDecoder:
    """Draws pictures as diffusers' `StableCascadeDecoderPipeline` does without guidance, to the bit in fp32.

    The noise of an image comes from its own generator and in fp32, and so do the steps of the sampler: an image has the
    same noise in any batch and for weights of any dtype.

    Args:
        decoder: Stage B.
        vqgan: Stage A, on the same device.
        scheduler: of the sampler; its timesteps are set by every call.
        steps: of the sampler.
    """

    def __init__(
        self, decoder: StableCascadeUNet, vqgan: PaellaVQModel, scheduler: DDPMWuerstchenScheduler, steps: int = 10
    ) -> None:
        self.decoder, self.vqgan, self.scheduler, self.steps = decoder, vqgan, scheduler, steps

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
        self.scheduler.set_timesteps(self.steps, device=device)
        for t in self.scheduler.timesteps[:-1]:
            times = t.expand(count)
            noise = self.decoder(drawn.to(dtype), times.to(dtype), **conditions)[0].float()
            drawn = self.scheduler.step(noise, times, drawn, generator=list(generators), return_dict=False)[0]
        scaled = self.vqgan.config.scale_factor * drawn
        images: Tensor = self.vqgan.decode(scaled.to(self.vqgan.dtype), return_dict=False)[0]
        return images.float().clamp(0, 1)
