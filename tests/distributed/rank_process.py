"""Ranks of `ppd train` in processes of their own, their ranks in the environment, as torchrun sets them."""

from __future__ import annotations

import multiprocessing
import os
from collections.abc import Sequence
from pathlib import Path

import pytest
import torch
from torch.distributed import TCPStore

from ppd_lightning.commands import train
from ppd_lightning.config.compose import compose
from ppd_lightning.errors import UserError
from ppd_lightning.training.module import PPDModule

PROCESSES = multiprocessing.get_context("forkserver")  # imports once; each process is forked from a clean one
PROCESSES.set_forkserver_preload(["tests.distributed.rank_process"])


def ranks(settings: Sequence[Sequence[str]], folder: Path, steps: int | None = None, seconds: float = 600) -> list[str]:
    """Train with one process for each of these overrides; the faults of each."""
    store = TCPStore("127.0.0.1", 0, is_master=True, wait_for_workers=False)
    reports = [folder / f"faults-{rank}" for rank in range(len(settings))]
    processes = [
        PROCESSES.Process(target=train_as_rank, args=(own, rank, len(settings), store.port, reports[rank], steps))
        for rank, own in enumerate(settings)
    ]
    for process in processes:
        process.start()
    for process in processes:
        process.join(seconds)
        if process.exitcode is None:
            process.kill()
            pytest.fail("a rank hangs")
    return [path.read_text() if path.exists() else "" for path in reports]


def train_as_rank(
    overrides: Sequence[str], rank: int, size: int, port: int, report: Path, steps: int | None = None
) -> None:
    """Run the command; leave its user errors in `report`, and break off after `steps` optimizer steps."""
    torch.set_num_threads(1)
    own = {"RANK": rank, "WORLD_SIZE": size, "LOCAL_RANK": rank, "LOCAL_WORLD_SIZE": size}
    served = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port, "TORCHELASTIC_USE_AGENT_STORE": True}
    os.environ.update({name: str(value) for name, value in {**own, **served}.items()})
    if steps is not None:
        _break_off_after(steps)
    try:
        train.run(compose(overrides))
    except UserError as error:
        report.write_text("\n".join(error.faults))


def _break_off_after(steps: int) -> None:
    step = PPDModule.on_after_backward

    def counted(module: PPDModule) -> None:
        step(module)
        if module.global_step == steps:
            os._exit(9)

    PPDModule.on_after_backward = counted
