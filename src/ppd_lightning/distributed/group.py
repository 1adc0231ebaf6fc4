"""The processes that train one run: how they find each other, agree, and fail together.

The process of rank 0 writes; the others only compute.
"""

from __future__ import annotations

import ctypes
import os
import signal
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import timedelta
from functools import cache
from itertools import count
from typing import Any

import torch
from lightning import LightningModule, Trainer
from lightning.fabric.plugins.environments.lightning import LightningEnvironment
from lightning.fabric.plugins.environments.slurm import SLURMEnvironment
from lightning.pytorch.callbacks import Callback
from lightning.pytorch.strategies import DDPStrategy
from torch import distributed
from torch.distributed import PrefixStore, Store, TCPStore  # type: ignore[attr-defined]

from ppd_lightning.distributed.rank import Rank
from ppd_lightning.errors import MachineError, UserError

START_TIMEOUT = timedelta(hours=12)
"""How long ranks wait for each other at the start: the first one may prepare the data before it comes."""
TIMEOUT = timedelta(minutes=30)
"""How long they wait for each other later; drawing a preview is the longest that only one of them does."""
GROUPS = count()
"""Numbers the groups that this process was in: each has keys of its own in the store."""


class Group:
    """The processes of a run, seen from one of them; where there is one only, nothing is sent."""

    def __init__(self, rank: Rank) -> None:
        self.rank = rank

    def gather(self, value: Any) -> list[Any]:
        """The values of all ranks, in their order."""
        if self.rank.size == 1:
            return [value]
        values: list[Any] = [None] * self.rank.size
        distributed.all_gather_object(values, value)
        return values

    def of_first(self, value: Any) -> Any:
        """The value of the first rank, on all of them."""
        return self.gather(value)[0]

    def barrier(self) -> None:
        """Wait until all ranks are here."""
        self.gather(None)

    def require_same(self, settings: Mapping[str, Any]) -> None:
        """Refuse to train with settings that differ between ranks.

        Args:
            settings: values by dotted key.

        Raises:
            UserError: on every rank, with both values of each key that differs.
        """
        first, *others = self.gather(dict(settings))
        faults = []
        for index, other in enumerate(others, 1):
            keys = [key for key in first | other if first.get(key) != other.get(key)]
            if keys:
                both = "; ".join(f"{key} is {first.get(key)!r} there and {other.get(key)!r} here" for key in keys)
                faults.append(
                    f"rank {index}: its configuration is not that of rank 0: {both}; start all processes with the same "
                    "settings"
                )
        if faults:
            raise UserError(faults)

    @contextmanager
    def together(self) -> Iterator[None]:
        """A block that succeeds on all ranks or fails on all of them; nothing may be sent inside.

        Raises:
            UserError: some rank had one.
            MachineError: another rank had one.
            RuntimeError: another rank failed in another way.
        """
        failed: Exception | None = None
        try:
            yield
        except Exception as error:
            failed = error
        lacks = str(failed) if isinstance(failed, MachineError) else None
        why_failed = failed and f"{type(failed).__name__}: {failed}"
        outcomes = self.gather((getattr(failed, "faults", None), lacks, why_failed))
        faults = [fault for own, _, _ in outcomes for fault in own or ()]
        if faults:
            raise UserError(dict.fromkeys(faults)) from failed
        if failed is not None:
            raise failed
        lacking = [f"rank {index}: {what}" for index, (_, what, _) in enumerate(outcomes) if what]
        if lacking:
            raise MachineError("; ".join(lacking))
        others = [f"rank {index} failed: {why}" for index, (_, _, why) in enumerate(outcomes) if why]
        if others:
            raise RuntimeError("; ".join(others))


@contextmanager
def connected(
    rank: Rank, *, nodes: int = 1, devices: int = 1, threads: int | None = None, accelerator: str = "auto"
) -> Iterator[Group]:
    """Form a group with the other ranks of the run, until the block ends.

    Args:
        rank: of this process.
        nodes: machines of the run.
        devices: of each machine, with a process each.
        threads: of a process, on the CPU; None leaves the choice to PyTorch and Lightning.
        accelerator: "cpu", or anything else to take GPUs where there are some.

    Raises:
        UserError: there are not as many processes as devices.
    """
    require_fitting(rank, nodes=nodes, devices=devices)
    if rank.size == 1:
        yield Group(rank)
        return
    if threads is not None:
        os.environ["OMP_NUM_THREADS"] = str(threads)  # Lightning chooses a number of its own otherwise
    gpu = accelerator != "cpu" and torch.cuda.is_available()
    if gpu:
        torch.cuda.set_device(rank.local_index)
    store = PrefixStore(f"group {next(GROUPS)}", _store(rank))
    store.set(f"here {rank.index}", "")
    store.wait([f"here {index}" for index in range(rank.size)], START_TIMEOUT)
    distributed.init_process_group(
        "nccl" if gpu else "gloo", store=store, rank=rank.index, world_size=rank.size, timeout=TIMEOUT
    )
    try:
        yield Group(rank)
    except BaseException:
        # Never freed: its end waits for a thread that may wait for Python's lock, which who frees it holds.
        ctypes.pythonapi.Py_IncRef(ctypes.py_object(distributed.group.WORLD))
        raise
    finally:
        distributed.destroy_process_group()


def require_fitting(rank: Rank, *, nodes: int, devices: int) -> None:
    """Refuse a number of processes that is not the number of devices.

    Raises:
        UserError: it is not, with the settings `trainer.nodes` and `trainer.devices` that would fit.
    """
    wanted = nodes * devices
    if rank.size > 1 and (rank.size, rank.local_size) != (wanted, devices):
        raise UserError(
            f"trainer.devices: {devices} on {nodes} nodes are {wanted} processes, and {rank.size} were "
            f"started, {rank.local_size} a node; set trainer.devices={rank.local_size} "
            f"trainer.nodes={rank.size // rank.local_size}, or start one process a device"
        )
    if rank.size == 1 and nodes > 1:
        raise UserError(
            f"trainer.nodes: {nodes} nodes need a process for each device to be started on each of them: as "
            f"the tasks of a Slurm step (hydra/launcher=...), or by torchrun --nnodes={nodes} "
            f"--nproc-per-node={devices} -m ppd_lightning train ..."
        )


class RankEnvironment(LightningEnvironment):
    """Gives Lightning the rank of this process, so that it looks for no cluster itself, nor requeues jobs."""

    def __init__(self, rank: Rank) -> None:
        super().__init__()
        self.rank = rank

    @property
    def creates_processes_externally(self) -> bool:
        """All ranks are there."""
        return True

    def local_rank(self) -> int:
        """See `Rank`."""
        return self.rank.local_index

    def node_rank(self) -> int:
        """See `Rank`."""
        return self.rank.node


class OwnSignals(Callback):
    """Restores the process's own SIGTERM handler.

    Lightning's ends a training with exit code 0, and answers with a message to all other ranks, for which a single one
    that is terminated would wait.
    """

    def __init__(self) -> None:
        self.handler = signal.getsignal(signal.SIGTERM)

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """After Lightning has set its own, which it does when all is set up."""
        signal.signal(signal.SIGTERM, self.handler)


def strategy(rank: Rank) -> DDPStrategy | str:
    """How Lightning trains: gradients of the branch are averaged over the ranks, where there are several."""
    if rank.size == 1:
        return "auto"
    return DDPStrategy(find_unused_parameters=False, gradient_as_bucket_view=True)


@cache
def _store(rank: Rank) -> Store:
    """The key-value store by which ranks find each other; served by the first one, or by whoever started them."""
    if "MASTER_PORT" in os.environ:
        address, port = os.environ["MASTER_ADDR"], int(os.environ["MASTER_PORT"])
    else:
        slurm = SLURMEnvironment(auto_requeue=False)
        address, port = os.environ.get("MASTER_ADDR") or slurm.main_address, slurm.main_port
    served = os.environ.get("TORCHELASTIC_USE_AGENT_STORE") == "True"
    store = TCPStore(
        address, port, rank.size, is_master=rank.is_first and not served, timeout=START_TIMEOUT, wait_for_workers=False
    )
    return PrefixStore(f"attempt {os.environ.get('TORCHELASTIC_RESTART_COUNT', 0)}", store)
