"""A finished training, opened to draw with.

B = images, C = captions, K = people and blends, E = width of a user embedding.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import torch
from torch import Tensor

from ppd_lightning.backbones.adapter import adapter_metadata, load_adapter
from ppd_lightning.backbones.cascade.stage_b import SCALE
from ppd_lightning.backbones.released import ReleasedModel, open_model
from ppd_lightning.config.contradictions import STRIDES
from ppd_lightning.config.folders import ADAPTERS, run_folder
from ppd_lightning.config.schemas import Config
from ppd_lightning.devices import compute_device
from ppd_lightning.errors import UserError
from ppd_lightning.generation.pipeline import CODEC_PARTS, UserPipeline
from ppd_lightning.generation.sampling import draw_images
from ppd_lightning.users.blends import Asked, blended_embeddings, sheet_embeddings
from ppd_lightning.users.embeddings import users_fingerprint


@dataclass(frozen=True)
class TrainedRun:
    """What a run draws with; networks are loaded for the first image.

    adapter: the file of the user branch.
    """

    config: Config
    model: ReleasedModel
    adapter: Path

    @property
    def dtype(self) -> torch.dtype:
        """Of the prior's weights as images are drawn."""
        half = compute_device(self.config.trainer).type == "cuda" and self.config.trainer.precision == "bf16"
        return torch.bfloat16 if half else torch.float32

    @cached_property
    def parts(self) -> dict[str, str]:
        """The fingerprint of each of the base's parts that images are drawn with."""
        return {part: self.model.fingerprint(part) for part in drawing_parts(self.config)}

    @cached_property
    def pipeline(self) -> UserPipeline:
        """The pipeline, on a GPU where the configuration allows one and there is one; bf16 there if that was trained.

        Raises:
            UserError: a file is damaged, or the adapter belongs to another base.
        """
        config = self.config
        if config.trainer.threads is not None:
            torch.set_num_threads(config.trainer.threads)
        prior = self.model.load_prior(self.dtype).to(compute_device(config.trainer))
        branch = load_adapter(prior, self.adapter).eval().requires_grad_(False)
        size, decoder = config.data.image_size, config.generation.decoder
        return UserPipeline.of(self.model, prior, branch, image_size=size, decoder=decoder)

    def users(self, asked: Sequence[Asked], captions: Sequence[str]) -> Tensor:
        """Embeddings (K, E) of people and blends, each for the caption beside it, as the run describes people.

        Raises:
            UserError: somebody cannot be described, or people are described otherwise than when the run was trained.
        """
        self._require_same_users()
        return blended_embeddings(self.config, self.model, asked, captions)

    def sheet(self, asked: Sequence[Asked], captions: Sequence[str]) -> Tensor:
        """Embeddings (C, K, E) of all of them for all captions; raises as `users`."""
        self._require_same_users()
        return sheet_embeddings(self.config, self.model, asked, captions)

    def _require_same_users(self) -> None:
        trained = adapter_metadata(self.adapter).get("users")
        if trained is not None and trained != users_fingerprint(self.config, self.model):
            raise UserError(
                f"{self.adapter}: trained for people who were described otherwise: the pairs, or the encoder of "
                f"user={self.config.user.kind}, are others now; bring those back, or delete "
                f"{self.adapter.parent / '.done'} and train again"
            )

    def draw(
        self, captions: Sequence[str], users: Tensor | None, seeds: Sequence[int], prompts: Sequence[str] | None = None
    ) -> Tensor:
        """Images (B, 3, H, W) float in [0, 1] by the configuration's `generation`; users (B, E), None for the base.

        The model reads the prompts, where there are any, instead of the captions.
        """
        return draw_images(self.pipeline, self.config.generation, captions, users, seeds, prompts)


def open_run(config: Config) -> TrainedRun:
    """The run that `ppd train` made of this configuration.

    Raises:
        UserError: there is none, it is not finished or kept no moving average, or files of the model are missing.
    """
    folder, model = run_folder(config), open_model(config.model)
    adapter = folder / ADAPTERS[config.generation.weights]
    faults = model.faults(*drawing_parts(config))
    side = int(config.data.image_size // STRIDES[config.model.name] * SCALE)
    if config.generation.decoder == "full" and config.model.name != "emoji" and side % 2:
        faults.append(
            f"data.image_size: {config.data.image_size} pixels give Stage B latents of {side} x {side}, an odd side, "
            "which it cannot halve; use another multiple of 32, such as 768, or generation.decoder=preview"
        )
    if not (folder / ".done").exists():
        faults.append(f"{folder}: no finished training of this configuration; run `ppd train` with the same settings")
    elif config.generation.weights == "ema" and not adapter.exists():
        faults.append(
            f"generation.weights=ema: {folder} kept no moving average of its weights; train with optimizer.ema_decay, "
            "or take generation.weights=trained"
        )
    if faults:
        raise UserError(faults)
    return TrainedRun(config, model, adapter)


def drawing_parts(config: Config) -> tuple[str, ...]:
    """The parts of the model that images are drawn with."""
    return "prior", "text_encoder", "tokenizer", "scheduler", CODEC_PARTS[config.generation.decoder]
