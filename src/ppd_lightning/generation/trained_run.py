"""A finished training, opened to draw with.

B = images, C = captions, K = people and blends, E = width of a user embedding.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from ppd_lightning.backbones.adapter import adapter_metadata, load_adapter
from ppd_lightning.backbones.backbone import Backbone
from ppd_lightning.data.prepared import PreparedData
from ppd_lightning.errors import UserError
from ppd_lightning.generation.pipeline import UserPipeline
from ppd_lightning.generation.sampling import draw_images
from ppd_lightning.generation.settings import ADAPTERS, Generation
from ppd_lightning.storage.finished_run import AGAIN, require_result
from ppd_lightning.users.blends import NOBODY, Asked, blended_embeddings, people_in, sheet_embeddings
from ppd_lightning.users.people_file import people_fingerprint
from ppd_lightning.users.users import Users


@dataclass(frozen=True)
class TrainedRun:
    """What a run draws with; networks are loaded for the first image.

    folder: of the run. adapter: the file of the user branch. backbone: frozen. data: that the run was trained on.
    users: as the run describes people. settings: how images are drawn. output: the folder of everything, where the
    base's images lie. device, dtype: of the network while images are drawn. threads: of the CPU; None leaves them as
    they are. progress: whether a terminal gets bars. described: vectors (E,) of people from files, by name; they go
    before those that people of the data have.
    """

    folder: Path
    adapter: Path
    backbone: Backbone
    data: PreparedData
    users: Users
    settings: Generation
    output: Path
    device: torch.device | str = "cpu"
    dtype: torch.dtype = torch.float32
    threads: int | None = None
    progress: bool = True
    described: Mapping[str, np.ndarray] = field(default_factory=dict)

    @cached_property
    def parts(self) -> dict[str, str]:
        """The fingerprint of each of the base's parts that images are drawn with."""
        return {part: self.backbone.fingerprint(part) for part in drawing_parts(self.backbone, self.settings)}

    @cached_property
    def pipeline(self) -> UserPipeline:
        """The pipeline with the run's user branch.

        Raises:
            UserError: a file is damaged, or the adapter belongs to another base.
        """
        if self.threads is not None:
            torch.set_num_threads(self.threads)
        network = self.backbone.load_network(self.dtype).to(self.device)
        branch = load_adapter(self.backbone, network, self.adapter).eval().requires_grad_(False)
        size, decoder = self.data.image_size, self.settings.decoder
        text = "cpu" if self.settings.text_encoder_on == "cpu" else self.device
        return UserPipeline.of(self.backbone, network, branch, image_size=size, decoder=decoder, text_device=text)

    @property
    def described_key(self) -> dict[str, str]:
        """A fingerprint of those who are described in files, for keys of what is measured; empty where nobody is."""
        return {"described": people_fingerprint(self.described)} if self.described else {}

    def embeddings(self, asked: Sequence[Asked], captions: Sequence[str]) -> Tensor:
        """Embeddings (K, E) of people and blends, each for the caption beside it.

        Raises:
            UserError: somebody cannot be described, or people are described otherwise than when the run was trained.
        """
        self._require_same_users(asked)
        return blended_embeddings(self.users, asked, captions, self.described)

    def sheet_embeddings(self, asked: Sequence[Asked], captions: Sequence[str]) -> Tensor:
        """Embeddings (C, K, E) of all of them for all captions; raises as `embeddings`."""
        self._require_same_users(asked)
        return sheet_embeddings(self.users, asked, captions, self.described)

    def _require_same_users(self, asked: Sequence[Asked]) -> None:
        """Those of the pairs; whoever is described in a file was asked for the training already (`read_people`)."""
        if set(people_in(asked)) <= self.described.keys():
            return
        trained = adapter_metadata(self.adapter).get("users")
        if trained is not None and trained != self.users.fingerprint():
            raise UserError(
                f"{self.adapter}: trained for people who were described otherwise: the pairs, or the encoder of "
                f"user={self.users.kind.kind}, are others now; bring those back, or delete "
                f"{self.adapter.parent} and train again"
            )

    def draw(
        self, captions: Sequence[str], users: Tensor | None, seeds: Sequence[int], prompts: Sequence[str] | None = None
    ) -> Tensor:
        """Images (B, 3, H, W) float in [0, 1]; users (B, E), None for the base.

        The model reads the prompts, where there are any, instead of the captions.
        """
        return draw_images(self.pipeline, self.settings, captions, users, seeds, prompts)


def open_trained_run(
    folder: Path,
    backbone: Backbone,
    data: PreparedData,
    users: Users,
    settings: Generation,
    *,
    output: Path,
    device: torch.device | str = "cpu",
    precision: str = "fp32",
    threads: int | None = None,
    progress: bool = True,
    described: Mapping[str, np.ndarray] = NOBODY,
) -> TrainedRun:
    """The run that `ppd train` finished in `folder`.

    Args:
        precision: of the training; a GPU draws in bf16 after a training in bf16, everything else in fp32.
        output, device, threads, progress, described: see `TrainedRun`.

    Raises:
        UserError: there is none, it is not finished or damaged or kept no moving average, or files of the model are
            missing.
    """
    adapter = folder / ADAPTERS[settings.weights]
    faults = [
        *backbone.faults(*drawing_parts(backbone, settings)),
        *backbone.size_faults(data.image_size, settings.decoder),
    ]
    try:
        require_result(folder, [adapter.name])
        if settings.weights == "ema" and not adapter.exists():
            faults.append(
                f"generation.weights=ema: {folder} kept no moving average of its weights; train with "
                "optimizer.ema_decay, or take generation.weights=trained"
            )
        elif not adapter.exists():
            faults.append(f"{adapter}: missing; {AGAIN}")
    except UserError as error:
        faults += error.faults
    if faults:
        raise UserError(faults)
    half = torch.device(device).type == "cuda" and precision == "bf16"
    dtype = torch.bfloat16 if half else torch.float32
    return TrainedRun(
        folder, adapter, backbone, data, users, settings, output, device, dtype, threads, progress, described
    )


def drawing_parts(backbone: Backbone, settings: Generation) -> tuple[str, ...]:
    """The parts of the model that images are drawn with."""
    return "prior", *backbone.drawing_parts(settings.decoder)
