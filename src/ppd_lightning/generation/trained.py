"""A finished training, opened to draw with.

B = images, E = width of a user embedding.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from ppd_lightning.config.schemas import Config
from ppd_lightning.generation.pipeline import Guidance, UserPipeline
from ppd_lightning.models.adapter import load_adapter
from ppd_lightning.models.released import ReleasedModel, open_model
from ppd_lightning.run.errors import UserError
from ppd_lightning.run.folders import run_folder
from ppd_lightning.users.embeddings import user_embeddings


@dataclass(frozen=True)
class TrainedRun:
    """The pipeline of a run and the settings it draws with."""

    config: Config
    model: ReleasedModel
    pipeline: UserPipeline

    def users(self, ids: Sequence[str]) -> Tensor:
        """Embeddings (len(ids), E) of people, as the run's `user` setting describes them."""
        return user_embeddings(self.config, self.model, ids)

    def draw(self, captions: Sequence[str], users: Tensor | None, seeds: Sequence[int]) -> Tensor:
        """Images (B, 3, H, W) float in [0, 1] by the configuration's `generation`; users (B, E), None for the base."""
        settings = self.config.generation
        low, high = settings.user_guidance_interval
        guidance = Guidance(settings.text_guidance, settings.user_guidance, (low, high))
        size, parts = settings.batch_size, []
        for begin in range(0, len(captions), size):
            part = slice(begin, begin + size)
            own = None if users is None else users[part]
            parts.append(self.pipeline(captions[part], own, seeds[part], steps=settings.steps, guidance=guidance))
        return torch.cat(parts)


def open_run(config: Config) -> TrainedRun:
    """The run that `ppd train` made of this configuration.

    Raises:
        UserError: there is none, or it is not finished.
    """
    folder = run_folder(config)
    if not (folder / ".done").exists():
        raise UserError(f"{folder}: no finished training of this configuration; run `ppd train` with the same settings")
    if config.trainer.threads is not None:
        torch.set_num_threads(config.trainer.threads)
    model = open_model(config.model.name, config.model.path)
    prior = model.load_prior()
    branch = load_adapter(prior, folder / "adapter.safetensors").eval().requires_grad_(False)
    device = "cuda" if config.trainer.accelerator != "cpu" and torch.cuda.is_available() else "cpu"
    return TrainedRun(config, model, UserPipeline.of(model, prior.to(device), branch.to(device), _latent_shape(config)))


def _latent_shape(config: Config) -> tuple[int, int, int]:
    side = config.data.image_size // 8
    return (16, side, side)
