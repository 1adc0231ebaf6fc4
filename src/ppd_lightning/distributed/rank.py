"""Which of a run's processes this one is; ranks are started by us, by torchrun, or as the tasks of a Slurm step."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass

TORCHRUN = ("RANK", "WORLD_SIZE", "LOCAL_RANK", "LOCAL_WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT")
"""What torchrun tells each process, and so do we."""

SLURM = ("SLURM_PROCID", "SLURM_STEP_NUM_TASKS", "SLURM_LOCALID")


@dataclass(frozen=True)
class Place:
    """A process among those that train one run together.

    rank: in [0, size). local_rank: among those of the same machine, which the device is chosen by. local_size: how many
    those are. node: the machine.
    """

    rank: int = 0
    size: int = 1
    local_rank: int = 0
    local_size: int = 1

    @property
    def node(self) -> int:
        """The number of the machine; each has equally many ranks, one after the other."""
        return (self.rank - self.local_rank) // self.local_size

    @property
    def is_first(self) -> bool:
        """Whether this is the process that writes."""
        return self.rank == 0


ALONE = Place()


def place(environment: Mapping[str, str] = os.environ) -> Place:
    """Where the environment says that this process is; the only one where it says nothing.

    A Slurm step of a single task says nothing: what runs in it starts ranks of its own.
    """
    if all(name in environment for name in TORCHRUN):
        rank, size, local_rank, local_size = (int(environment[name]) for name in TORCHRUN[:4])
        return Place(rank, size, local_rank, local_size)
    if all(name in environment for name in SLURM):
        rank, size, local_rank = (int(environment[name]) for name in SLURM)
        if size > 1:
            return Place(rank, size, local_rank, size // int(environment.get("SLURM_STEP_NUM_NODES", "1")))
    return ALONE
