"""What a verb needs of the machine that runs it, looked at before any work.

`ppd validate` leaves this out, for it also runs where a job is only prepared; `ppd doctor` lists it.
"""

from __future__ import annotations

import math
import os
from collections.abc import Iterator
from pathlib import Path

import torch

from ppd_lightning.config.root import Config
from ppd_lightning.devices import require_accelerator
from ppd_lightning.distributed.rank import current_rank
from ppd_lightning.errors import UserError

TRAINING = ("train", "reference", "demo")
DRAWING = ("evaluate", "interpolate", "judge", "generate", "demo")
FLOAT, PROCESS = 4, 300_000_000
"""Bytes of a number, and of a process with PyTorch that does nothing yet."""
FEW_THREADS = 16
"""Threads that may always be started."""
LIMIT_OF_CONTAINER = Path("/sys/fs/cgroup/memory.max")


def require_machine(verb: str, config: Config) -> None:
    """Raise a `UserError` where a verb that computes lacks its device, or would take more than this machine has."""
    require_accelerator(config.trainer.accelerator)
    training = verb in TRAINING
    faults = work_faults(config, training=training, drawing=verb in DRAWING)
    gpus, asked = _gpus(config), config.trainer.devices
    if training and current_rank().size == 1 and 0 < gpus < asked:
        faults.append(f"trainer.devices: {asked} are asked for, and this machine has {gpus} GPUs; use at most these")
    if faults:
        raise UserError(faults)


def work_faults(config: Config, *, training: bool = True, drawing: bool = True) -> list[str]:
    """What takes more threads or memory than there are: a sentence for each key.

    Args:
        training, drawing: whether these are looked at.
    """
    faults = []
    threads, most = config.trainer.threads or 1, max(FEW_THREADS, 4 * (os.cpu_count() or 1))
    if threads > most:
        faults.append(
            f"trainer.threads: {threads:,} threads on {os.cpu_count()} CPUs wait for each other; use at most {most}"
        )
    return [*faults, *(_of_training(config) if training else ()), *(_of_drawing(config) if drawing else ())]


def _gpus(config: Config) -> int:
    return 0 if config.trainer.accelerator == "cpu" else torch.cuda.device_count()


def _of_training(config: Config) -> Iterator[str]:
    """What a device works on at once: two latents of each pair, and the states of its caption."""
    trainer, model = config.trainer, config.model
    share = -(-trainer.batch_size // (trainer.nodes * trainer.devices))
    largest = 1 if trainer.micro_batch_size == "auto" and _gpus(config) else trainer.micro_batch_size
    pairs = min(share, largest) if isinstance(largest, int) else share
    numbers = 2 * math.prod(model.latent_shape(config.data.image_size)) + (model.caption_numbers or 0)
    if not _gpus(config) and trainer.devices > 1:
        of = f"{trainer.devices:,} processes on the CPU"
        yield from _fault("trainer.devices", trainer.devices * PROCESS, of, "start fewer")
    yield from _fault(
        "trainer.batch_size" if trainer.micro_batch_size is None else "trainer.micro_batch_size",
        pairs * numbers * FLOAT,
        f"the latents and captions of {pairs:,} pairs",
        "set trainer.micro_batch_size to what fits; the step stays the same",
    )


def _of_drawing(config: Config) -> Iterator[str]:
    count, side = config.generation.batch_size, config.data.image_size
    yield from _fault(
        "generation.batch_size",
        count * (3 * side**2 + math.prod(config.model.latent_shape(side))) * FLOAT,
        f"{count:,} images and their latents",
        "draw fewer at once",
    )


def _fault(key: str, needed: int, of: str, remedy: str) -> Iterator[str]:
    there = memory()
    if needed > there:
        yield f"{key}: {of} take {needed / 1e9:,.1f} GB alone, and there are {there / 1e9:,.1f} GB of memory; {remedy}"


def memory() -> int:
    """Bytes of memory of this machine, or of its container."""
    there = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    try:
        return min(there, int(LIMIT_OF_CONTAINER.read_text()))
    except (OSError, ValueError):  # none, or "max"
        return there
