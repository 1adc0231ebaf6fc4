"""Rewards' scores of a gallery's images: each image is scored once, and its score is kept beside it.

N = images, M = images of a part.
"""

from __future__ import annotations

import logging
import random
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from ppd_lightning.errors import UserError
from ppd_lightning.generation.drawn_files import png_fault, read_picture
from ppd_lightning.progress import Counted
from ppd_lightning.rewards.reward import Reward
from ppd_lightning.storage.atomic import atomic_path
from ppd_lightning.storage.checksums import known_sha256, note_checksum, noted_fault
from ppd_lightning.storage.fingerprints import fingerprint

log = logging.getLogger(__name__)

PART = 256
"""Images that are scored before their scores are written."""

SCHEMA = pa.schema({"file": pa.string(), "score": pa.float64(), "sha256": pa.string()})
"""sha256 is that of the image that was scored; null in parts of earlier versions."""


def score_images(
    reward: Reward, files: Sequence[Path], captions: Sequence[str], *, progress: bool = True
) -> np.ndarray:
    """The scores (N,) float64 of images of galleries, each for its own caption.

    An image's name stands for its caption as well, so a score belongs to a file. Scores lie in `scores-{reward}-{key}`
    of the gallery's folder in parts, which are written whole or not at all and are named by what is in them: several
    processes share the work without knowing of each other, and one that is killed loses a part at most. A score of
    other bytes than the image has now does not count, nor does a part that is damaged.

    Raises:
        UserError: an image, a part or the reward's weights are missing or damaged.
    """
    name = f"scores-{reward.name}-{reward.fingerprint()}"
    captioned = dict(zip(files, captions, strict=True))
    unseen = [f"{file}: {fault}" for file in captioned if (fault := png_fault(file)) is not None]
    if unseen:
        raise UserError(f"{fault}; run the command that drew it again, which draws it anew" for fault in unseen)
    known: dict[Path, float] = {}
    for gallery in dict.fromkeys(file.parent for file in captioned):
        own, folder = [file for file in captioned if file.parent == gallery], gallery / name
        there = _read(folder)
        missing = [file for file in own if file.name not in there]
        if missing:
            parts = [missing[begin : begin + PART] for begin in range(0, len(missing), PART)]
            done = len(own) - len(missing)
            with Counted(f"scores by {reward.name}", len(own), done=done, bar=progress) as counted:
                # In an order that no other process has; what comes out does not depend on it.
                for part in random.Random().sample(parts, len(parts)):
                    _score(reward, part, [captioned[file] for file in part], folder)
                    counted.add(len(part))
            there = _read(folder)
        known |= {file: there[file.name] for file in own}
    return np.array([known[file] for file in files], np.float64)


def _score(reward: Reward, files: Sequence[Path], captions: Sequence[str], folder: Path) -> None:
    """Write a part (M,), and then its checksum."""
    sums = [known_sha256(file) for file in files]
    path = folder / f"{fingerprint([[file.name, digest] for file, digest in zip(files, sums, strict=True)])}.parquet"
    scores = reward.score([read_picture(file) for file in files], captions).double().numpy()
    with atomic_path(path) as unfinished:
        table = pa.table([[file.name for file in files], scores, sums], schema=SCHEMA)
        pq.write_table(table, unfinished, write_page_checksum=True)
    note_checksum(path)


def _read(folder: Path) -> dict[str, float]:
    """The score of each image by its file's name; of an image that is in several parts, that of the first by name."""
    scores: dict[str, float] = {}
    for path in sorted(folder.glob("[0-9a-f]*.parquet")):
        try:
            fault = noted_fault(path)
            table = pq.read_table(path, schema=SCHEMA)
        except (OSError, ValueError, pa.ArrowException) as error:
            fault = f"{path}: damaged ({' '.join(str(error).split())})"
        if fault is not None:
            log.warning("%s; its images are scored again", fault)
            for damaged in (path, path.with_suffix(".sha256")):
                damaged.unlink(missing_ok=True)
            continue
        for name, score, digest in zip(*(table[column].to_pylist() for column in SCHEMA.names), strict=True):
            image = folder.parent / name
            if digest is None or (image.exists() and known_sha256(image) == digest):
                scores.setdefault(name, score)
    return scores
