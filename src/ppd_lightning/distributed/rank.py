"""The rank of this process among those that train one run: started by us, by torchrun, or as tasks of a Slurm step."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass

TORCHRUN = ("RANK", "WORLD_SIZE", "LOCAL_RANK", "LOCAL_WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT")
"""The variables that torchrun sets for each process, and so do we."""

SLURM = ("SLURM_PROCID", "SLURM_STEP_NUM_TASKS", "SLURM_LOCALID")


@dataclass(frozen=True)
class Rank:
    """A process among those that train one run together.

    index: in [0, size), the process's rank. size: how many processes there are. local_index: the rank among those of
    the same machine, which is the number of its device. local_size: how many those are.
    """

    index: int = 0
    size: int = 1
    local_index: int = 0
    local_size: int = 1

    @property
    def node(self) -> int:
        """The number of the machine; each has equally many ranks, one after the other."""
        return (self.index - self.local_index) // self.local_size

    @property
    def is_first(self) -> bool:
        """Whether this is the process that writes."""
        return self.index == 0


ALONE = Rank()
"""The only process of a run."""


def current_rank(environment: Mapping[str, str] = os.environ) -> Rank:
    """The rank that the environment gives this process; `ALONE` where it gives none.

    A Slurm step of a single task gives none: the command in it starts ranks of its own. What is no number gives none
    either; `process_folders.require_folders` refuses it.
    """
    if any(not environment[name].isdecimal() for name in (*TORCHRUN[:4], *SLURM) if name in environment):
        return ALONE
    if all(name in environment for name in TORCHRUN):
        index, size, local_index, local_size = (int(environment[name]) for name in TORCHRUN[:4])
        return Rank(index, size, local_index, local_size)
    if all(name in environment for name in SLURM):
        index, size, local_index = (int(environment[name]) for name in SLURM)
        if size > 1:
            return Rank(index, size, local_index, size // int(environment.get("SLURM_STEP_NUM_NODES", "1")))
    return ALONE
