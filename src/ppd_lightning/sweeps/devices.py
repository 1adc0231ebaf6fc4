"""Which GPUs a run has where several work at once on one machine: its own, as long as there are enough.

The processes of joblib and submitit_local know nothing of each other: all would train on the first GPU, or, where
submitit_local is told of none, on none.
"""

from __future__ import annotations

import itertools
import logging
import os
import tempfile
from collections.abc import MutableMapping, Sequence
from functools import cache
from pathlib import Path

from ppd_lightning.config.schemas import Trainer
from ppd_lightning.storage.leases import Claim

log = logging.getLogger(__name__)

LAUNCHERS = ("JoblibLauncher", ".LocalLauncher")
"""Those whose runs share this machine at the same time."""

TOLD = "PPD_DEVICES"
"""Where the processes that they start read which GPUs there are to choose from."""


def tell_devices(launcher: str, environment: MutableMapping[str, str] = os.environ) -> None:
    """Before a launcher starts processes that inherit this environment."""
    environment.pop(TOLD, None)
    if launcher.endswith(LAUNCHERS):
        environment[TOLD] = ",".join(_visible(environment))


def take_devices(config: Trainer, environment: MutableMapping[str, str] = os.environ) -> None:
    """Let this process, and those that it starts, see `trainer.devices` GPUs that no other run has.

    They stay its own until it ends. Where all are taken, runs share them evenly; where nothing was told, each sees all.
    """
    told = environment.get(TOLD)
    if told and config.accelerator != "cpu":
        environment["CUDA_VISIBLE_DEVICES"] = ",".join(_own(tuple(told.split(",")), config.devices))
        log.info("it has GPU %s", environment["CUDA_VISIBLE_DEVICES"])


def _visible(environment: MutableMapping[str, str]) -> list[str]:
    chosen = environment.get("CUDA_VISIBLE_DEVICES")
    if chosen is not None:
        return [name.strip() for name in chosen.split(",") if name.strip()]
    import torch  # not by the command that starts runs, unless it must

    return [str(number) for number in range(torch.cuda.device_count())]


@cache
def _own(names: tuple[str, ...], count: int) -> Sequence[str]:
    groups = [names[begin : begin + count] for begin in range(0, len(names) - count + 1, count)] or [names]
    taken = (group for others in itertools.count() for group in groups if _take(group, others))
    return next(taken)


def _take(group: Sequence[str], others: int) -> bool:
    """Whether all of the group were taken; `others` is how many runs may have each of them already."""
    folder = Path(tempfile.gettempdir()) / f"ppd-devices-{os.getuid()}"
    held: list[Claim] = []
    for name in group:
        claim = Claim(folder / f"{name}-{others}".replace("/", "_"))
        if not claim.take():
            for taken in held:
                taken.release()
            return False
        held.append(claim)
    return True
