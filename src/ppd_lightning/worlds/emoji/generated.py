"""Generated pictures of the world's concepts, drawn once and kept: shards that worlds of equal settings share.

A unit is what one drawer makes of all captions with one noise. Any number of processes draw at once, each the units
that are missing; one that was killed goes on where it was. A unit is drawn as a whole, on one thread, so that its
bytes depend on the settings and the kind of CPU alone.

N = pictures, K = concepts, H = W = side in pixels.
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.utils.data import IterableDataset, get_worker_info

from ppd_lightning.data.loading import Loader, workers_may_die
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


def generated_pictures(
    output: Path, concepts: Sequence[str], noises: int, size: int, seed: int, workers: int = 0
) -> Generated:
    """What every drawer makes of every concept with so many noises each, N = drawers x noises x K; drawn where missing.

    Args:
        output: the pictures are kept in `generated/` below it.
        concepts: K captions.
        seed: of the noises.
        workers: processes that draw, each on one thread; with 0 it is this one.

    Raises:
        UserError: a file of the models that ship is missing, or a kept part is damaged; the message says which.
    """
    key = pictures_key(concepts, size, seed)
    folder = output / "generated" / fingerprint(key)
    units = [(drawer, noise) for noise in range(noises) for drawer in range(len(DRAWERS))]
    done = finished_units(folder, key)
    missing = [unit for unit in units if _name(*unit) not in done]
    if missing:
        total, left = len(units) * len(concepts), len(missing) * len(concepts)
        drawn = Loader(_Missing(folder, key, missing, concepts, size, seed), workers, "data.workers", in_order=False)
        with Counted("generated pictures", total, done=total - left) as counted, workers_may_die(drawn.key, workers):
            for count in drawn:
                counted.add(count)
    parts = [read_shard(folder, _name(*unit), key)[1]["pixels"] for unit in units]
    count = len(concepts)
    return Generated(
        np.concatenate(parts),
        np.tile(np.arange(count), len(units)),
        np.repeat([drawer for drawer, _ in units], count),
        np.repeat([noise for _, noise in units], count),
    )


class _Missing(IterableDataset[int]):
    """Draws units; each item is how many pictures are there now. Its workers share the units."""

    def __init__(
        self,
        folder: Path,
        key: dict[str, Any],
        units: Sequence[tuple[int, int]],
        concepts: Sequence[str],
        size: int,
        seed: int,
    ) -> None:
        self.folder, self.key, self.units = folder, key, sorted(units)
        self.concepts, self.size, self.seed = list(concepts), size, seed

    def __iter__(self) -> Iterator[int]:
        worker = get_worker_info()
        own = self.units if worker is None else self.units[worker.id :: worker.num_workers]
        # The drawers in an order that no other process has; what comes out does not depend on it.
        order = random.Random().sample(range(len(DRAWERS)), len(DRAWERS))
        names = [str(row) for row in range(len(self.concepts))]
        with _one_thread():
            for drawer in order:
                noises = [noise for number, noise in own if number == drawer]
                if not noises:
                    continue
                pipeline = open_drawer(DRAWERS[drawer], self.size, self.seed)
                for noise in noises:
                    if not is_finished(self.folder, _name(drawer, noise), self.key):
                        noise_seed = _noise(drawer, noise, self.seed)
                        pixels = draw_with(pipeline, DRAWERS[drawer], self.concepts, noise_seed)
                        write_shard(self.folder, _name(drawer, noise), names, {"pixels": pixels}, self.key)
                    yield len(names)


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
