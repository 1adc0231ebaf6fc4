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
    noise_preferred, noise_dispreferred: the latents' shape, standard normal, independent of each other.
    drop_user: () or (B,) float32 in [0, 1), uniform: the user is dropped where it is below the rate.
    """

    t: Tensor
    noise_preferred: Tensor
    noise_dispreferred: Tensor
    drop_user: Tensor


def draw(seed: int, epoch: int, pair_id: int, shape: tuple[int, ...], purpose: str = "example") -> Draw:
    """What the pair `pair_id` meets in `epoch` of a run with `seed`; `shape` is the latent's.

    `purpose` keeps the draws of a training and those of a measurement apart.
    """
    generator = _generator(purpose, seed, epoch, pair_id)
    t, drop_user = generator.random(2, np.float32)
    noise = torch.from_numpy(generator.standard_normal((2, *shape), np.float32))
    return Draw(torch.tensor(1 - t), noise[0], noise[1], torch.tensor(drop_user))


def draw_batch(seed: int, epochs: Tensor, pair_ids: Tensor, shape: tuple[int, ...], purpose: str = "example") -> Draw:
    """`draw` for each of epochs (B,) and pair_ids (B,) int64, stacked, on the CPU."""
    draws = [draw(seed, *keys, shape, purpose) for keys in zip(epochs.tolist(), pair_ids.tolist(), strict=True)]
    return Draw(
        torch.stack([one.t for one in draws]),
        torch.stack([one.noise_preferred for one in draws]),
        torch.stack([one.noise_dispreferred for one in draws]),
        torch.stack([one.drop_user for one in draws]),
    )


def choose(purpose: str, seed: int, epoch: int, pair_id: int, count: int) -> int:
    """One of `count`, uniformly; `purpose` keeps different choices about the same pair apart."""
    return int(_generator(purpose, seed, epoch, pair_id).integers(count))


def _generator(purpose: str, seed: int, epoch: int, pair_id: int) -> np.random.Generator:
    # Philox takes its whole state from the key, so a generator costs microseconds and needs no warm-up.
    key = hashlib.blake2b(f"{VERSION}/{purpose}".encode() + struct.pack("<qqq", seed, epoch, pair_id), digest_size=16)
    return np.random.Generator(np.random.Philox(key=int.from_bytes(key.digest(), "little")))
