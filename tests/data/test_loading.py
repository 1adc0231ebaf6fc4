"""Batches come from worker processes as they were made, however little shared memory there is, or not in silence."""

from __future__ import annotations

import errno
import os
import signal
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import torch
from torch.utils.data import Dataset, IterableDataset, get_worker_info

from ppd_lightning.data import loading
from ppd_lightning.data.loading import Loader, workers_may_die
from ppd_lightning.errors import MachineError, UserError

pytestmark = pytest.mark.filterwarnings("ignore:This DataLoader will create")


class Items(IterableDataset[Any]):
    """`count` items a worker; one of them dies before item `dies`."""

    def __init__(self, count: int, dies: int | None = None) -> None:
        self.count, self.dies = count, dies

    def __iter__(self) -> Iterator[Any]:
        worker = get_worker_info()
        first = 0 if worker is None else worker.id
        for number in range(first * self.count, (first + 1) * self.count):
            if number == self.dies:
                os.kill(os.getpid(), signal.SIGKILL)
            yield item(number)


def item(number: int) -> dict[str, Any]:
    pixels = np.arange(number, number + 2 * 4 * 5 * 3, dtype=np.float32).reshape(2, 4, 5, 3)
    return {
        "number": number,
        "pixels": pixels.transpose(0, 3, 1, 2),  # as pictures lie in memory
        "part": pixels[:, ::2, :, 0],
        "tensor": torch.from_numpy(pixels).half(),
        "nothing": np.empty((0, 3), np.uint8),
    }


def no_room() -> None:
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


@pytest.mark.parametrize("size", [1 << 20, 64], ids=["in memory", "through the pipe"])
def test_what_workers_send_is_what_they_made(monkeypatch: pytest.MonkeyPatch, size: int) -> None:
    monkeypatch.setattr(loading, "SLOT_BYTES", size)
    monkeypatch.setattr(torch.multiprocessing.reductions, "reduce_storage", no_room)  # a full /dev/shm, in each worker
    loader = Loader(Items(7), 2, "data.workers", in_order=False)
    came = {made["number"]: made for made in loader}
    assert sorted(came) == list(range(14))
    for number, made in came.items():
        for name, expected in item(number).items():
            if name == "number":
                continue
            assert made[name].dtype == expected.dtype
            assert np.array_equal(made[name], expected), (number, name)
        assert made["pixels"].strides == item(number)["pixels"].strides
        made["tensor"] += 1  # it is its own


def test_a_worker_that_is_killed_is_a_sentence() -> None:
    loader = Loader(Items(50, dies=60), 2, "data.workers", in_order=False)
    said = r"of the 2 processes that make batches .* no memory left: set fewer by data\.workers"
    with pytest.raises(MachineError, match=said), workers_may_die("data.workers", 2):
        list(loader)


def test_without_room_for_a_queue_everything_is_made_here(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(loading, "_try_to_start", lambda workers: no_room())
    assert [made["number"] for made in Loader(Items(7), 2, "data.workers")] == list(range(7))
    assert "data.workers=2: no processes can be started" in caplog.text
    assert "/dev/shm" in caplog.text


def test_a_worker_that_cannot_send_ends_instead_of_forgetting(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loading._Waiting, "__reduce__", lambda self: no_room(), raising=False)
    with (
        pytest.raises(MachineError, match=r"set fewer by data\.workers, 0 for none"),
        workers_may_die("data.workers", 2),
    ):
        list(Loader(Items(7), 2, "data.workers"))


class Numbers(Dataset[Any]):
    """Three items, of which the last is refused."""

    def __len__(self) -> int:
        return 3

    def __getitem__(self, number: int) -> Any:
        if number == 2:
            raise UserError(["one fault", "and another"])
        return {"number": number}


def test_a_fault_that_a_worker_finds_is_its_sentences_alone() -> None:
    class Stream(IterableDataset[Any]):
        def __iter__(self) -> Iterator[Any]:
            return map(Numbers().__getitem__, range(3))

    for dataset in (Numbers(), Stream()):
        came = iter(Loader(dataset, 1, "data.workers"))
        assert [next(came)["number"] for _ in range(2)] == [0, 1]
        with pytest.raises(UserError) as error:
            next(came)
        assert error.value.faults == ["one fault", "and another"]


def test_other_faults_stay_what_they_are() -> None:
    with pytest.raises(RuntimeError, match="mine"), workers_may_die("data.workers", 2):
        raise RuntimeError("mine")
