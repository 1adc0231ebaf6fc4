"""One rank of `ppd train` in a process of its own, told by the environment which one it is, as torchrun tells it."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

import torch

from ppd_lightning.commands import train
from ppd_lightning.config.compose import compose
from ppd_lightning.run.errors import UserError
from ppd_lightning.training import PPDModule


def train_as_rank(
    overrides: Sequence[str], rank: int, size: int, port: int, told: Path, steps: int | None = None
) -> None:
    """Run the command; leave its user errors in `told`, and break off after `steps` optimizer steps."""
    torch.set_num_threads(1)
    place = {"RANK": rank, "WORLD_SIZE": size, "LOCAL_RANK": rank, "LOCAL_WORLD_SIZE": size}
    served = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port, "TORCHELASTIC_USE_AGENT_STORE": True}
    os.environ.update({name: str(value) for name, value in {**place, **served}.items()})
    if steps is not None:
        _break_off_after(steps)
    try:
        train.run(compose(overrides))
    except UserError as error:
        told.write_text("\n".join(error.faults))


def _break_off_after(steps: int) -> None:
    step = PPDModule.on_after_backward

    def counted(module: PPDModule) -> None:
        step(module)
        if module.global_step == steps:
            os._exit(9)

    PPDModule.on_after_backward = counted
