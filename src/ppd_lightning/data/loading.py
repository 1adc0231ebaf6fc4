"""Batches that worker processes make, handed over without shared memory of the system.

Torch hands tensors over in files below /dev/shm, of which a container has 64 MB unless it is asked for more. A batch
that finds no room there is lost: the process that was to send it goes on. Here they pass through memory that the
processes share by descent (an anonymous mapping, which no such limit concerns), and, where none of it is free, through
the pipe that carries the messages. A worker that cannot send a batch ends, and the command with it.
"""

from __future__ import annotations

import io
import itertools
import logging
import mmap
import multiprocessing
import os
import pickle
import re
import signal
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing.queues import Queue
from typing import Any, Generic, TypeVar

import numpy as np
from torch import Tensor, from_numpy
from torch.utils.data import DataLoader, Dataset, IterableDataset, get_worker_info

from ppd_lightning.data.remote import first_line
from ppd_lightning.errors import MachineError, UserError

log = logging.getLogger(__name__)

Batch = TypeVar("Batch")

START_METHOD = "fork" if sys.platform == "linux" else "spawn"
"""How workers are started. Those of a fork server would outlive this process if it is killed."""

SLOTS, SLOT_BYTES = 2, 48 << 20
"""Batches of a worker that wait in shared memory, and the largest of them; memory is taken as it is used."""


@dataclass(frozen=True)
class Loader(Generic[Batch]):
    """The items of a data set, made here or by worker processes.

    dataset: gives whole batches of tensors, arrays, and what can be pickled. workers: processes; 0 is this one. key: of
    the configuration that sets it, for messages. in_order: whether items come in the order of the data set; if not, as
    they are ready. pinned: whether items, then mappings of tensors, lie in pinned memory, from which a GPU copies
    without being waited for.
    """

    dataset: Dataset[Batch]
    workers: int
    key: str
    in_order: bool = True
    pinned: bool = False

    def __len__(self) -> int:
        return len(self.dataset)  # type: ignore[arg-type]  # a TypeError for those without an end, as loaders have it

    def __iter__(self) -> Iterator[Batch]:
        """Start the workers, and give what they make.

        Where none can be started (/dev/shm is full or read-only), a warning says so, and all is made here.
        """
        return map(_pin, self._items()) if self.pinned else self._items()

    def _items(self) -> Iterator[Batch]:
        if not self.workers:
            return iter(DataLoader(self.dataset, batch_size=None, collate_fn=_as_it_is))
        try:
            _try_to_start(self.workers)
        except (OSError, ImportError) as error:
            log.warning(
                "%s=%d: no processes can be started beside this one (%s; see that /dev/shm is there, writable and not "
                "full); it goes on without them",
                *(self.key, self.workers, first_line(error)),
            )
            return iter(DataLoader(self.dataset, batch_size=None, collate_fn=_as_it_is))
        room = _Room(self.workers) if START_METHOD == "fork" else None
        items = (
            _Refusals(self.dataset) if isinstance(self.dataset, IterableDataset) else _RefusalsByNumber(self.dataset)
        )
        batches = iter(
            DataLoader(
                items,
                batch_size=None,
                num_workers=self.workers,
                multiprocessing_context=START_METHOD,
                in_order=self.in_order,
                collate_fn=_as_it_is if room is None else room.put,
                worker_init_fn=_begin_work,
            )
        )
        return map(_accepted, batches if room is None else map(room.take, batches))


@contextmanager
def workers_may_die(key: str, workers: int) -> Iterator[None]:
    """Within it, a worker process that dies is a `MachineError`.

    Args:
        key, workers: as of `Loader`.
    """
    try:
        yield
    except (RuntimeError, MemoryError) as error:
        if "DataLoader worker" not in str(error):
            raise
        ended_by = re.search(r"killed by signal: ([^.]+)", f"{error} {error.__cause__} {error.__context__}")
        how = f"was ended by the signal {ended_by[1]}" if ended_by else "ended"
        raise MachineError(
            f"one of the {workers} processes that make batches {how}; most often the machine or the job has no memory "
            f"left: set fewer by {key}, 0 for none, or give the job more; the same command goes on from here"
        ) from error


class _Room:
    """Where batches wait between a worker that made them and this process."""

    def __init__(self, workers: int) -> None:
        self.taken = [mmap.mmap(-1, SLOTS) for _ in range(workers)]
        self.memory = [mmap.mmap(-1, SLOTS * SLOT_BYTES) for _ in range(workers)]

    def put(self, item: Any) -> _Waiting:
        """Called in a worker: what is sent instead of the item."""
        worker = get_worker_info()
        assert worker is not None
        buffers: list[pickle.PickleBuffer] = []
        head = io.BytesIO()
        _Pickler(head, protocol=5, buffer_callback=buffers.append).dump(item)
        parts = [buffer.raw() for buffer in buffers]
        sizes, taken = [part.nbytes for part in parts], self.taken[worker.id]
        free = next((slot for slot in range(SLOTS) if not taken[slot]), None)
        if free is None or sum(sizes) > SLOT_BYTES:
            return _Waiting(head.getvalue(), worker.id, [bytes(part) for part in parts])
        taken[free] = 1
        begin = free * SLOT_BYTES
        for part in parts:
            self.memory[worker.id][begin : begin + part.nbytes] = part
            begin += part.nbytes
        return _Waiting(head.getvalue(), worker.id, sizes, free)

    def take(self, waiting: _Waiting) -> Any:
        """The item; its arrays are its own."""
        if waiting.slot is None:
            parts = [bytearray(part) for part in waiting.parts]
        else:
            with memoryview(self.memory[waiting.worker]) as memory:
                ends = waiting.slot * SLOT_BYTES + np.cumsum([0, *waiting.parts])
                parts = [bytearray(memory[begin:end]) for begin, end in itertools.pairwise(ends)]
            self.taken[waiting.worker][waiting.slot] = 0
        return pickle.loads(waiting.head, buffers=parts)


@dataclass(frozen=True)
class _Waiting:
    """An item on its way: its pickle, and what its arrays hold, or how many bytes of each lie in a slot."""

    head: bytes
    worker: int
    parts: Sequence[Any]
    slot: int | None = None


class _Pickler(pickle.Pickler):
    """Leaves what arrays and tensors hold outside of the pickle, as it lies in memory."""

    def reducer_override(self, value: Any) -> Any:
        if isinstance(value, Tensor):
            return from_numpy, (value.numpy(),)
        if isinstance(value, np.ndarray) and not value.flags.c_contiguous:
            axes = np.argsort([-stride for stride in value.strides], kind="stable")
            return np.transpose, (np.ascontiguousarray(value.transpose(axes)), np.argsort(axes).tolist())
        return NotImplemented


@dataclass(frozen=True)
class _Refused:
    """What a worker sends instead of an item that is a `UserError`, of which torch would make a traceback."""

    faults: Sequence[str]


class _Refusals(IterableDataset[Any]):
    def __init__(self, dataset: IterableDataset[Any]) -> None:
        self.dataset = dataset

    def __iter__(self) -> Iterator[Any]:
        try:
            yield from self.dataset
        except UserError as error:
            yield _Refused(error.faults)


class _RefusalsByNumber(Dataset[Any]):
    def __init__(self, dataset: Dataset[Any]) -> None:
        self.dataset = dataset

    def __len__(self) -> int:
        return len(self.dataset)  # type: ignore[arg-type]  # of `Dataset`, whose type promises none

    def __getitem__(self, number: int) -> Any:
        try:
            return self.dataset[number]
        except UserError as error:
            return _Refused(error.faults)


def _accepted(item: Any) -> Any:
    if isinstance(item, _Refused):
        raise UserError(item.faults)
    return item


def _try_to_start(workers: int) -> None:
    """Make what torch makes for so many workers, which leaves a trace behind where that fails half way.

    Raises:
        OSError, ImportError: it cannot be made; semaphores are files in /dev/shm, too.
    """
    context = multiprocessing.get_context(START_METHOD)
    _ = [context.Event(), *(context.Queue() for _ in range(workers + 1))]


def _as_it_is(item: Any) -> Any:
    return item


def _pin(item: Any) -> Any:
    return {name: tensor.pin_memory() for name, tensor in item.items()}


def _begin_work(worker: int) -> None:
    """In a worker: what cannot be sent ends it, or it would be printed and forgotten.

    The process that started it answers signals for both, and ends it.
    """
    for number in (signal.SIGINT, signal.SIGUSR1, signal.SIGUSR2):
        signal.signal(number, signal.SIG_IGN)
    Queue._on_queue_feeder_error = staticmethod(lambda error, item: os._exit(1))  # type: ignore[attr-defined]
