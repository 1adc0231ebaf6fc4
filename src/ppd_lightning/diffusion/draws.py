"""Stateless draws: what is random about an example is a function of (seed, epoch, pair id) and of nothing else.

Not of the rank, the worker, the batch, the device or what ran before. So a resumed run, another number of processes and
another run of a sweep see the very same timesteps and noise.

B = batch.
"""

from __future__ import annotations

import hashlib
import struct
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

VERSION = 1
"""Part of the key of whatever is stored about draws; raised when the numbers change."""


@dataclass(frozen=True)
class Draw:
    """The random part of one example, or of a batch of them.

    t: () or (B,) float32 in (0, 1], uniform, to be mapped to the times that a run uses.
    noise_preferred, noise_dispreferred: the latents' shape, standard normal, independent of each other; the second one
        is None where nobody uses it.
    drop_user: () or (B,) float32 in [0, 1), uniform: the user is dropped where it is below the rate.
    """

    t: Tensor
    noise_preferred: Tensor
    noise_dispreferred: Tensor | None
    drop_user: Tensor


def draw(seed: int, epoch: int, pair_id: int, shape: tuple[int, ...], purpose: str = "example") -> Draw:
    """What the pair `pair_id` meets in `epoch` of a run with `seed`; `shape` is the latent's.

    `purpose` keeps the draws of a training and those of a measurement apart.
    """
    batch = draw_batch(seed, torch.tensor([epoch]), torch.tensor([pair_id]), shape, purpose)
    return Draw(**{name: part[0] for name, part in vars(batch).items()})


def draw_batch(
    seed: int,
    epochs: Tensor,
    pair_ids: Tensor,
    shape: tuple[int, ...],
    purpose: str = "example",
    *,
    noises: int = 2,
) -> Draw:
    """`draw` for each of epochs (B,) and pair_ids (B,) int64, on the CPU.

    With one noise, that of the preferred image, the other one is not drawn; the numbers are the same.
    """
    keys = _keys(epochs, pair_ids)
    uniform = np.empty((len(keys), 2), np.float32)
    noise = np.empty((noises, len(keys), *shape), np.float32)
    for row, key in enumerate(keys):
        generator = _generator(purpose, seed, *key)
        generator.random(dtype=np.float32, out=uniform[row])
        for side in noise:
            generator.standard_normal(dtype=np.float32, out=side[row])
    sides = torch.from_numpy(noise).unbind()
    return Draw(
        torch.from_numpy(1 - uniform[:, 0]),
        sides[0],
        sides[1] if noises == 2 else None,
        torch.from_numpy(uniform[:, 1].copy()),
    )


def draw_dropping(seed: int, epochs: Tensor, pair_ids: Tensor, purpose: str = "example") -> Tensor:
    """`drop_user` (B,) of `draw_batch` alone, which takes no noise to be drawn."""
    numbers = [_generator(purpose, seed, *key).random(2, np.float32)[1] for key in _keys(epochs, pair_ids)]
    return torch.from_numpy(np.array(numbers, np.float32))


def choose(purpose: str, seed: int, epoch: int, pair_id: int, count: int) -> int:
    """One of `count`, uniformly; `purpose` keeps different choices about the same pair apart."""
    return int(_generator(purpose, seed, epoch, pair_id).integers(count))


def _keys(epochs: Tensor, pair_ids: Tensor) -> list[tuple[int, int]]:
    return list(zip(epochs.tolist(), pair_ids.tolist(), strict=True))


def _generator(purpose: str, seed: int, epoch: int, pair_id: int) -> np.random.Generator:
    # Philox takes its whole state from the key, so a generator costs microseconds and needs no warm-up.
    key = hashlib.blake2b(f"{VERSION}/{purpose}".encode() + struct.pack("<qqq", seed, epoch, pair_id), digest_size=16)
    return np.random.Generator(np.random.Philox(key=int.from_bytes(key.digest(), "little")))
