"""The frozen reference's mean error at each time: what the adaptive weighting divides by.

B = batch.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from ppd_lightning.diffusion.draws import draw_batch
from ppd_lightning.diffusion.losses import prediction_error
from ppd_lightning.diffusion.weighting import TimeWeight

if TYPE_CHECKING:
    from ppd_lightning.backbones.backbone import Backbone


@torch.no_grad()
def reference_error_by_time(
    backbone: Backbone,
    network: nn.Module,
    batch: dict[str, Tensor],
    t_min: float,
    t_max: float,
    *,
    seed: int,
    per_bin: int = 16,
) -> Tensor:
    """Mean squared error of the network's predictions at the times of `TimeWeight.bin_times`, (BINS,).

    Args:
        backbone: whose network it is.
        network: frozen and in evaluation mode, its user branch off.
        batch: some training pairs; their preferred images are used in turn.
        t_min: the lowest time that is drawn.
        t_max: the highest.
        seed: of the noise.
        per_bin: images at each time.
    """
    path, errors = backbone.diffusion_path, []
    pairs = len(batch["pair"])
    for index, time in enumerate(TimeWeight.bin_times(t_min, t_max)):
        rows = (torch.arange(per_bin) + index * per_bin) % pairs
        latents, keys = batch["latents_preferred"][rows], torch.arange(per_bin)
        epochs = torch.full((per_bin,), index)
        noise = draw_batch(seed, epochs, keys, latents.shape[1:], noises=1).noise_preferred.to(latents)
        t = time.expand(per_bin).to(latents.device)
        conditions = {name: batch[name][rows] for name in backbone.text_arrays}
        predicted = backbone.predict(network, path.add_noise(latents, noise, t), t, conditions)
        errors.append(prediction_error(predicted, path.target(latents, noise, t)).mean())
    return torch.stack(errors).cpu()
