"""The frozen reference's mean error at each time: what the adaptive weighting divides by.

B = batch.
"""

from __future__ import annotations

import torch
from diffusers import StableCascadeUNet
from torch import Tensor

from ppd_lightning.backbones.cascade.prior import predict_noise
from ppd_lightning.diffusion.draws import draw_batch
from ppd_lightning.diffusion.objectives import noise_error
from ppd_lightning.diffusion.schedule import CosineSchedule
from ppd_lightning.diffusion.weighting import TimeWeight


@torch.no_grad()
def reference_error_by_time(
    prior: StableCascadeUNet, batch: dict[str, Tensor], t_min: float, t_max: float, *, seed: int, per_bin: int = 16
) -> Tensor:
    """Mean squared noise error of the prior at the times of `TimeWeight.bin_times`, (BINS,).

    Args:
        prior: frozen and in evaluation mode, its user branch off.
        batch: some training pairs; their preferred images are used in turn.
        t_min: the lowest time that is drawn.
        t_max: the highest.
        seed: of the noise.
        per_bin: images at each time.
    """
    schedule, errors = CosineSchedule(), []
    pairs = len(batch["pair"])
    for index, time in enumerate(TimeWeight.bin_times(t_min, t_max)):
        rows = (torch.arange(per_bin) + index * per_bin) % pairs
        latents, keys = batch["latents_preferred"][rows], torch.arange(per_bin)
        noise = draw_batch(seed, torch.full((per_bin,), index), keys, latents.shape[1:]).noise_preferred.to(latents)
        t = time.expand(per_bin).to(latents.device)
        noised = schedule.add_noise(latents, noise, t)
        predicted = predict_noise(prior, noised, t, batch["text"][rows], batch["text_pooled"][rows])
        errors.append(noise_error(predicted, noise).mean())
    return torch.stack(errors).cpu()
