"""Generated pictures of the world's concepts, drawn once and kept: shards that worlds of equal settings share.

A unit is what one drawer makes of all captions with one noise. Any number of processes draw at once, each the units
that are missing; one that was killed goes on where it was. A unit is drawn as a whole, on one thread, so that its
bytes depend on the settings and the kind of CPU alone.

N = pictures, K = concepts, H = W = side in pixels.
"""

from __future__ import annotations

import itertools
import random
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from ppd_lightning.data.shards import finished_units, is_finished, read_shard, write_shard
from ppd_lightning.progress import Counted
from ppd_lightning.storage.fingerprints import fingerprint
from ppd_lightning.worlds.emoji.drawers import DRAWERS, draw_with, open_drawer, shipped

FIRST_NOISE = 1_000_000
"""Noises of these pictures; the evaluation and `ppd generate` use smaller ones."""
VERSION = 1
"""Raised when the same settings would give other pictures."""


@dataclass(frozen=True)
class Generated:
    """N pictures. pixels: (N, 3, H, W) uint8. concept, drawer, noise: (N,), the first two rows of names and DRAWERS."""

    pixels: np.ndarray
    concept: np.ndarray
    drawer: np.ndarray
    noise: np.ndarray


def generated_pictures(output: Path, concepts: Sequence[str], noises: int, size: int, seed: int) -> Generated:
    """What every drawer makes of every concept with so many noises each, N = drawers x noises x K; drawn where missing.

    Args:
        output: the pictures are kept in `generated/` below it.
        concepts: K captions.
        seed: of the noises.

    Raises:
        UserError: a file of the models that ship is missing, or a kept part is damaged; the message says which.
    """
    key = pictures_key(concepts, size, seed)
    folder = output / "generated" / fingerprint(key)
    units = [(drawer, noise) for noise in range(noises) for drawer in range(len(DRAWERS))]
    _draw_missing(folder, key, units, concepts, size, seed)
    parts = [read_shard(folder, _name(*unit), key)[1]["pixels"] for unit in units]
    count = len(concepts)
    return Generated(
        np.concatenate(parts),
        np.tile(np.arange(count), len(units)),
        np.repeat([drawer for drawer, _ in units], count),
        np.repeat([noise for _, noise in units], count),
    )


def _draw_missing(
    folder: Path, key: dict[str, Any], units: Sequence[tuple[int, int]], concepts: Sequence[str], size: int, seed: int
) -> None:
    done = finished_units(folder, key)
    missing = [unit for unit in units if _name(*unit) not in done]
    if not missing:
        return
    total, count = len(units) * len(concepts), len(concepts)
    captions = [str(number) for number in range(count)]
    # In an order that no other process has, one drawer after the other; what comes out does not depend on it.
    order = random.Random().sample(range(len(DRAWERS)), len(DRAWERS))
    missing.sort(key=lambda unit: order.index(unit[0]))
    with Counted("generated pictures", total, done=total - len(missing) * count) as counted, _one_thread():
        for drawer, own in itertools.groupby(missing, key=lambda unit: unit[0]):
            pipeline = open_drawer(DRAWERS[drawer], size, seed)
            for unit in own:
                if not is_finished(folder, _name(*unit), key):
                    pixels = draw_with(pipeline, DRAWERS[drawer], concepts, _noise(*unit, seed))
                    write_shard(folder, _name(*unit), captions, {"pixels": pixels}, key)
                counted.add(count)


def pictures_key(concepts: Sequence[str], size: int, seed: int) -> dict[str, Any]:
    """What a picture depends on, beside its drawer and its noise; arguments as of `generated_pictures`."""
    backbones = {name: shipped(name) for name in sorted({drawer.network for drawer in DRAWERS})}
    return {
        "version": VERSION,
        "concepts": fingerprint(list(concepts)),
        "size": size,
        "seed": seed,
        "drawers": fingerprint(DRAWERS),
        "models": {name: [one.fingerprint(part) for part in sorted(one.parts)] for name, one in backbones.items()},
    }


def _name(drawer: int, noise: int) -> str:
    return f"{DRAWERS[drawer].name}-{noise}"


def _noise(drawer: int, noise: int, seed: int) -> int:
    return FIRST_NOISE + 100_000 * (seed % 10_000) + 10_000 * drawer + noise


@contextmanager
def _one_thread() -> Iterator[None]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)
