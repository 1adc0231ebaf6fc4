"""Images of one generator with one setting, a PNG each: each is drawn once, for whatever it is asked for.

N = images that are asked for, B = images of a batch, E = width of a user embedding.
"""

from __future__ import annotations

import hashlib
import json
import random
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from ppd_lightning.config.folders import run_folder
from ppd_lightning.errors import UserError
from ppd_lightning.generation.grid import as_picture
from ppd_lightning.generation.trained_run import TrainedRun
from ppd_lightning.progress import Counted
from ppd_lightning.storage.atomic import atomic_path
from ppd_lightning.storage.fingerprints import file_sha256, fingerprint

Paint = Callable[[Sequence[str], Tensor | None, Sequence[int], Sequence[str]], Tensor]
"""Captions (B), users (B, E) or None for the base, seeds (B) and prompts (B) to images (B, 3, H, W) in [0, 1]."""


class Gallery:
    """A folder of images, each named by a hash of its caption, user, seed and prompt.

    Any number of processes may draw into it at once, and be killed: a file is there whole or not at all, and at most
    the batch that was being drawn is lost.

    What its bits promise: what is asked for is cut into the same batches however often it is asked, and a batch of
    which an image is missing is drawn as a whole. So a drawing that was cut off, or an image that was deleted, comes to
    the same bytes. An image that is there is never drawn anew; if it was drawn beside others, because something else
    was asked for then, its numbers may differ in their last bits before they are rounded to bytes, so that now and then
    a byte is another by one.

    Args:
        folder: of this generator and setting.
        paint: draws a batch.
        batch_size: images drawn at once, B.
        bar: whether a terminal gets a progress bar.
    """

    def __init__(self, folder: Path, paint: Paint, batch_size: int, *, bar: bool = True) -> None:
        self.folder, self.batch_size, self.bar = folder, batch_size, bar
        self._paint = paint

    def file(self, caption: str, user: Tensor | None, seed: int, prompt: str | None = None) -> Path:
        """Where an image lies, or would; user (E,), None for the base; prompt as for `draw`."""
        told = json.dumps([caption, seed, caption if prompt is None else prompt]).encode()
        vector = b"" if user is None else user.detach().cpu().float().contiguous().numpy().tobytes()
        return self.folder / f"{hashlib.blake2b(told + b'/' + vector, digest_size=16).hexdigest()}.png"

    def draw(
        self, captions: Sequence[str], users: Tensor | None, seeds: Sequence[int], prompts: Sequence[str] | None = None
    ) -> list[Path]:
        """The files of N images, in this order; those that are not there are drawn, what comes twice once.

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
        first = {file: place for place, file in reversed(list(enumerate(files)))}
        places = sorted(first.values())
        batches = [places[begin : begin + self.batch_size] for begin in range(0, len(places), self.batch_size)]
        missing = [batch for batch in batches if not all(files[place].exists() for place in batch)]
        if not missing:
            return files
        done = len(places) - sum(map(len, missing))
        with Counted("images", len(places), done=done, bar=self.bar) as counted:
            # In an order that no other process has, so that few are drawn twice; what comes out does not depend on it.
            for batch in random.Random().sample(missing, len(missing)):
                absent = [place for place in batch if not files[place].exists()]
                if absent:
                    images = self._paint(
                        [captions[place] for place in batch],
                        None if users is None else users[batch],
                        [seeds[place] for place in batch],
                        [prompts[place] for place in batch],
                    )
                    for place in absent:
                        with atomic_path(files[place]) as unfinished:
                            as_picture(images[batch.index(place)]).save(unfinished)
                counted.add(len(batch))
        return files


def base_gallery(trained: TrainedRun) -> Gallery:
    """The base's images, shared by all runs, methods and guidance scales of the user in the same output folder."""
    folder = Path(trained.config.output) / "images" / f"base-{fingerprint(_base_setting(trained))}"
    return _gallery(trained, folder)


def own_gallery(trained: TrainedRun) -> Gallery:
    """The run's images for users."""
    setting = _base_setting(trained)
    for name in ("user_guidance", "user_guidance_interval"):
        setting[name] = getattr(trained.config.generation, name)
    setting["adapter"] = file_sha256(trained.adapter)
    return _gallery(trained, run_folder(trained.config) / f"images-{fingerprint(setting)}")


def read_picture(file: Path) -> Image.Image:
    """An image of a gallery, 8-bit RGB.

    Raises:
        UserError: it is missing or damaged.
    """
    try:
        with Image.open(file) as opened:
            return opened.convert("RGB")
    except (OSError, SyntaxError) as error:  # PIL raises the latter at broken PNG chunks
        raise UserError(f"{file}: missing or damaged ({error}); delete it and run the same command again") from None


def read_images(files: Sequence[Path]) -> Tensor:
    """Images of one gallery, (N, 3, H, W) float in [0, 1]; raises as `read_picture`."""
    pixels = np.stack([np.asarray(read_picture(file)) for file in files])
    return torch.from_numpy(pixels).permute(0, 3, 1, 2).float() / 255


def _gallery(trained: TrainedRun, folder: Path) -> Gallery:
    return Gallery(folder, trained.draw, trained.config.generation.batch_size, bar=trained.config.trainer.progress)


def _base_setting(trained: TrainedRun) -> dict[str, Any]:
    """All that an image of the base depends on beside its name."""
    config = trained.config
    setting: dict[str, Any] = {name: getattr(config.generation, name) for name in ("steps", "text_guidance", "decoder")}
    return setting | {"image_size": config.data.image_size, "model": trained.parts, "dtype": str(trained.dtype)}
