"""Several processes that train one run: how they find each other, agree, and fail together.

A rank is one of them. The one of rank 0 writes; the others compute.
"""

from __future__ import annotations

import ctypes
import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from datetime import timedelta
from functools import cache
from itertools import count
from typing import Any

import torch
from lightning import LightningModule
from lightning import Trainer as LightningTrainer
from lightning.fabric.plugins.environments.lightning import LightningEnvironment
from lightning.fabric.plugins.environments.slurm import SLURMEnvironment
from lightning.pytorch.callbacks import Callback
from lightning.pytorch.strategies import DDPStrategy
from torch import distributed
from torch.distributed import PrefixStore, Store, TCPStore  # type: ignore[attr-defined]

from ppd_lightning.config.schemas import Config, Trainer
from ppd_lightning.distributed.rank import Place
from ppd_lightning.errors import UserError
from ppd_lightning.storage.fingerprints import fingerprint

MEETING = timedelta(hours=12)
"""How long ranks wait for each other at the start: the first one may prepare the data before it comes."""
ANSWER = timedelta(minutes=30)
"""How long they wait for each other later; drawing a preview is the longest that only one of them does."""
GROUPS = count()
"""The groups that this process was in: those of one run after the other have notes of their own."""


class Ranks:
    """The processes of a run, seen from one of them; where there is one only, nothing is sent."""

    def __init__(self, place: Place) -> None:
        self.place = place

    def gather(self, value: Any) -> list[Any]:
        """What each rank gives, in their order."""
        if self.place.size == 1:
            return [value]
        values: list[Any] = [None] * self.place.size
        distributed.all_gather_object(values, value)
        return values

    def of_first(self, value: Any) -> Any:
        """What the first rank gives, on all of them."""
        return self.gather(value)[0]

    def meet(self) -> None:
        """Go on when all are here."""
        self.gather(None)

    def require_same(self, config: Config) -> None:
        """Refuse to train anything but one and the same configuration.

        Raises:
            UserError: on every rank, with both values of each key that differs.
        """
        told = self.gather((fingerprint(config), _flat(asdict(config))))
        mark, values = told[0]
        faults = []
        for rank, (other_mark, other) in enumerate(told):
            if other_mark == mark:
                continue
            differing = [key for key in values | other if values.get(key) != other.get(key)]
            shown = "; ".join(f"{key} is {values.get(key)!r} there and {other.get(key)!r} here" for key in differing)
            faults.append(
                f"rank {rank}: its configuration is not that of rank 0 ({other_mark} instead of {mark}): {shown}; "
                f"start all processes with the same settings"
            )
        if faults:
            raise UserError(faults)

    @contextmanager
    def together(self) -> Iterator[None]:
        """A block that succeeds on all ranks or fails on all of them; nothing may be sent inside.

        Raises:
            UserError: some rank had one.
            RuntimeError: another rank failed in another way.
        """
        failed: Exception | None = None
        try:
            yield
        except Exception as error:
            failed = error
        told = self.gather((getattr(failed, "faults", None), failed and f"{type(failed).__name__}: {failed}"))
        faults = [fault for own, _ in told for fault in own or ()]
        if faults:
            raise UserError(dict.fromkeys(faults)) from failed
        if failed is not None:
            raise failed
        others = [f"rank {rank} failed: {why}" for rank, (_, why) in enumerate(told) if why]
        if others:
            raise RuntimeError("; ".join(others))


@contextmanager
def connected(config: Trainer, place: Place) -> Iterator[Ranks]:
    """Meet the other ranks of the run, until the block ends.

    Raises:
        UserError: there are not as many processes as the configuration has devices.
    """
    require_fitting(config, place)
    if place.size == 1:
        yield Ranks(place)
        return
    if config.threads is not None:
        os.environ["OMP_NUM_THREADS"] = str(config.threads)  # Lightning chooses a number of its own otherwise
    gpu = config.accelerator != "cpu" and torch.cuda.is_available()
    if gpu:
        torch.cuda.set_device(place.local_rank)
    store = PrefixStore(f"group {next(GROUPS)}", _store(place))
    store.set(f"here {place.rank}", "")
    store.wait([f"here {rank}" for rank in range(place.size)], MEETING)
    distributed.init_process_group(
        "nccl" if gpu else "gloo", store=store, rank=place.rank, world_size=place.size, timeout=ANSWER
    )
    try:
        yield Ranks(place)
    except BaseException:
        # Never freed: its end waits for a thread that may wait for Python's lock, which who frees it holds.
        ctypes.pythonapi.Py_IncRef(ctypes.py_object(distributed.group.WORLD))
        raise
    finally:
        distributed.destroy_process_group()


def require_fitting(config: Trainer, place: Place) -> None:
    """Refuse a number of processes that is not what the configuration asks for.

    Raises:
        UserError: so it is.
    """
    wanted = config.nodes * config.devices
    if place.size > 1 and (place.size, place.local_size) != (wanted, config.devices):
        raise UserError(
            f"trainer.devices: {config.devices} on {config.nodes} nodes are {wanted} processes, and {place.size} were "
            f"started, {place.local_size} a node; set trainer.devices={place.local_size} "
            f"trainer.nodes={place.size // place.local_size}, or start one process a device"
        )
    if place.size == 1 and config.nodes > 1:
        raise UserError(
            f"trainer.nodes: {config.nodes} nodes need a process for each device to be started on each of them: as "
            f"the tasks of a Slurm step (hydra/launcher=...), or by torchrun --nnodes={config.nodes} "
            f"--nproc-per-node={config.devices} -m ppd_lightning train ..."
        )


class PlacedEnvironment(LightningEnvironment):
    """Tells Lightning where this process is, so that it looks for no cluster itself, nor requeues jobs."""

    def __init__(self, place: Place) -> None:
        super().__init__()
        self.place = place

    @property
    def creates_processes_externally(self) -> bool:
        """All ranks are there."""
        return True

    def local_rank(self) -> int:
        """See `Place`."""
        return self.place.local_rank

    def node_rank(self) -> int:
        """See `Place`."""
        return self.place.node


class OwnSignals(Callback):
    """Gives the process the SIGTERM handler back that it had: Lightning's answers with a message to all other ranks.

    One rank alone that is told to end would wait for theirs.
    """

    def __init__(self) -> None:
        self.handler = signal.getsignal(signal.SIGTERM)

    def setup(self, trainer: LightningTrainer, pl_module: LightningModule, stage: str) -> None:
        """After Lightning has put its own."""
        signal.signal(signal.SIGTERM, self.handler)


def strategy(place: Place) -> DDPStrategy | str:
    """How Lightning trains: gradients of the branch are averaged over the ranks, where there are several."""
    if place.size == 1:
        return "auto"
    return DDPStrategy(find_unused_parameters=False, gradient_as_bucket_view=True)


@cache
def _store(place: Place) -> Store:
    """Where ranks leave notes for each other; served by the first one, or by who started them."""
    if "MASTER_PORT" in os.environ:
        address, port = os.environ["MASTER_ADDR"], int(os.environ["MASTER_PORT"])
    else:
        slurm = SLURMEnvironment(auto_requeue=False)
        address, port = os.environ.get("MASTER_ADDR") or slurm.main_address, slurm.main_port
    served = os.environ.get("TORCHELASTIC_USE_AGENT_STORE") == "True"
    store = TCPStore(
        address, port, place.size, is_master=place.is_first and not served, timeout=MEETING, wait_for_workers=False
    )
    return PrefixStore(f"attempt {os.environ.get('TORCHELASTIC_RESTART_COUNT', 0)}", store)


def _flat(values: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for name, value in values.items():
        flat |= _flat(value, f"{prefix}{name}.") if isinstance(value, dict) else {f"{prefix}{name}": value}
    return flat
