"""Which GPUs a run uses where several work at once on one machine: its own, as long as there are enough.

The processes of joblib and submitit_local do not know each other: all would train on the first GPU, or, where
submitit_local asks for none, on none.
"""

from __future__ import annotations

import itertools
import logging
import os
import tempfile
from collections.abc import MutableMapping, Sequence
from functools import cache
from pathlib import Path

from ppd_lightning.storage.leases import Lease

log = logging.getLogger(__name__)

LAUNCHERS = ("JoblibLauncher", ".LocalLauncher")
"""Those whose runs share this machine at the same time."""

OFFERED = "PPD_DEVICES"
"""The variable with the GPUs that the processes of a launcher choose from."""


def offer_devices(launcher: str, environment: MutableMapping[str, str] = os.environ) -> None:
    """Set the GPUs that runs choose from, before a launcher starts processes that inherit this environment."""
    environment.pop(OFFERED, None)
    if launcher.endswith(LAUNCHERS):
        environment[OFFERED] = ",".join(_visible(environment))


def take_devices(accelerator: str, devices: int, environment: MutableMapping[str, str] = os.environ) -> None:
    """Restrict this process, and those that it starts, to `devices` GPUs that no other run uses.

    It holds them until it ends. Where all are taken, runs share them evenly; where none were offered, each sees all.
    """
    offered = environment.get(OFFERED)
    if offered and accelerator != "cpu":
        environment["CUDA_VISIBLE_DEVICES"] = ",".join(_own(tuple(offered.split(",")), devices))
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
    """Whether leases of the whole group were acquired; `others` is how many runs may use each of them already."""
    folder = Path(tempfile.gettempdir()) / f"ppd-devices-{os.getuid()}"
    held: list[Lease] = []
    for name in group:
        lease = Lease(folder / f"{name}-{others}".replace("/", "_"))
        if not lease.acquire():
            for acquired in held:
                acquired.release()
            return False
        held.append(lease)
    return True
