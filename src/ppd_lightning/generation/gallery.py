"""Images of one generator with one setting, a PNG each: each is drawn once, for whatever it is asked for.

N = images that are asked for, B = images of a batch, E = width of a user embedding.
"""

from __future__ import annotations

import hashlib
import json
import logging
import random
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ppd_lightning.generation.drawn_files import png_fault, read_picture
from ppd_lightning.generation.grid import as_picture
from ppd_lightning.generation.trained_run import TrainedRun
from ppd_lightning.progress import Counted
from ppd_lightning.storage.atomic import atomic_path
from ppd_lightning.storage.checksums import known_sha256
from ppd_lightning.storage.fingerprints import fingerprint

log = logging.getLogger(__name__)

Paint = Callable[[Sequence[str], Tensor | None, Sequence[int], Sequence[str]], Tensor]
"""Captions (B), users (B, E) or None for the base, seeds (B) and prompts (B) to images (B, 3, H, W) in [0, 1]."""


class Gallery:
    """A folder of images, each named by a hash of its caption, user, seed and prompt.

    Any number of processes may draw into it at once, and be killed: a file is there whole or not at all, and at most
    the batch that was being drawn is lost.

    What its bits promise: what is asked for is cut into the same batches however often it is asked, and a batch of
    which an image is missing is drawn as a whole. So a drawing that was cut off, or an image that was deleted, comes to
    the same bytes. An image that is there and whole is never drawn anew; if it was drawn beside others, because
    something else was asked for then, its numbers may differ in their last bits before they are rounded to bytes, so
    that now and then a byte is another by one.

    Args:
        folder: of this generator and setting.
        paint: draws a batch.
        batch_size: images drawn at once, B.
        progress: whether a terminal gets a bar.
    """

    def __init__(self, folder: Path, paint: Paint, batch_size: int, *, progress: bool = True) -> None:
        self.folder, self.batch_size, self.progress = folder, batch_size, progress
        self._paint = paint

    def file(self, caption: str, user: Tensor | None, seed: int, prompt: str | None = None) -> Path:
        """The path of an image, drawn or not; user (E,), None for the base; prompt as for `draw`."""
        text = json.dumps([caption, seed, caption if prompt is None else prompt]).encode()
        vector = b"" if user is None else user.detach().cpu().float().contiguous().numpy().tobytes()
        return self.folder / f"{hashlib.blake2b(text + b'/' + vector, digest_size=16).hexdigest()}.png"

    def draw(
        self, captions: Sequence[str], users: Tensor | None, seeds: Sequence[int], prompts: Sequence[str] | None = None
    ) -> list[Path]:
        """The files of N images, in this order; those that are not there, or damaged, are drawn, what comes twice once.

        Args:
            captions: N captions; with its seed they decide an image's noise.
            users: embeddings (N, E), or None for the base.
            seeds: N seeds.
            prompts: what the model reads, where that is not the caption.
        """
        prompts = captions if prompts is None else prompts
        owners: Sequence[Tensor | None] = [None] * len(captions) if users is None else list(users)
        asked = zip(captions, owners, seeds, prompts, strict=True)
        files = [self.file(*one) for one in asked]
        first = {file: row for row, file in reversed(list(enumerate(files)))}
        rows = sorted(first.values())
        batches = [rows[begin : begin + self.batch_size] for begin in range(0, len(rows), self.batch_size)]
        missing = [batch for batch in batches if not all(_is_there(files[row]) for row in batch)]
        if not missing:
            return files
        done = len(rows) - sum(map(len, missing))
        with Counted("images", len(rows), done=done, bar=self.progress) as counted:
            # In an order that no other process has, so that few are drawn twice; what comes out does not depend on it.
            for batch in random.Random().sample(missing, len(missing)):
                absent = [row for row in batch if png_fault(files[row]) is not None]
                if absent:
                    images = self._paint(
                        [captions[row] for row in batch],
                        None if users is None else users[batch],
                        [seeds[row] for row in batch],
                        [prompts[row] for row in batch],
                    )
                    for row in absent:
                        with atomic_path(files[row]) as unfinished:
                            as_picture(images[batch.index(row)]).save(unfinished)
                counted.add(len(batch))
        return files


def base_gallery(trained: TrainedRun) -> Gallery:
    """The base's images, shared by all runs, methods and guidance scales of the user in the same output folder."""
    folder = trained.output / "images" / f"base-{fingerprint(_base_setting(trained))}"
    return _gallery(trained, folder)


def own_gallery(trained: TrainedRun) -> Gallery:
    """The run's images for users."""
    setting = _base_setting(trained)
    for name in ("user_guidance", "user_guidance_interval"):
        setting[name] = getattr(trained.settings, name)
    setting["adapter"] = known_sha256(trained.adapter)
    return _gallery(trained, trained.folder / f"images-{fingerprint(setting)}")


def _is_there(file: Path) -> bool:
    """Whether an image was drawn and is whole; one that is damaged is named in the log."""
    fault = png_fault(file)
    if fault is not None and file.exists():
        log.warning("%s: %s; it is drawn again", file, fault)
    return fault is None


def read_images(files: Sequence[Path]) -> Tensor:
    """Images of one gallery, (N, 3, H, W) float in [0, 1]; raises as `read_picture`."""
    pixels = np.stack([np.asarray(read_picture(file)) for file in files])
    return torch.from_numpy(pixels).permute(0, 3, 1, 2).float() / 255


def _gallery(trained: TrainedRun, folder: Path) -> Gallery:
    return Gallery(folder, trained.draw, trained.settings.batch_size, progress=trained.progress)


def _base_setting(trained: TrainedRun) -> dict[str, Any]:
    """Everything that an image of the base depends on beside its name."""
    setting: dict[str, Any] = {name: getattr(trained.settings, name) for name in ("steps", "text_guidance", "decoder")}
    setting |= {"image_size": trained.data.image_size, "model": trained.parts, "dtype": str(trained.dtype)}
    return setting | trained.backbone.prediction_settings()
