"""How a training is stopped by a signal: at the end of its step, with a checkpoint to go on from."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import torch
from lightning import LightningModule, Trainer
from lightning.pytorch.callbacks import Checkpoint
from torch import distributed

from ppd_lightning import signals
from ppd_lightning.errors import UserError
from ppd_lightning.signals import Stopped
from ppd_lightning.storage.atomic import write_json_atomic
from ppd_lightning.storage.json_files import read_json
from ppd_lightning.training.accumulation import ends_step
from ppd_lightning.training.checkpoints import LastCheckpoint

NOTE = "stopped.json"
"""The file of a run that was stopped, until it goes on: the signal, and the step that was saved, if one was."""


class SaveWhenStopped(Checkpoint):
    """Saves a checkpoint at the end of the step in which a signal comes, then stops; all ranks do, whoever got it.

    Where a validation follows the step, after that.

    Args:
        checkpoints: what saves the run's checkpoints, at the steps at which it is due.
        folder: of the run.
    """

    def __init__(self, checkpoints: LastCheckpoint, folder: Path) -> None:
        self.checkpoints, self.folder = checkpoints, folder

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """At the end of a step."""
        if ends_step(trainer, batch_idx) and not (self.checkpoints.validates and self.checkpoints.is_due(trainer)):
            self._stop_if_asked(trainer)

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """At the end of the validation of a step."""
        if not trainer.sanity_checking:
            self._stop_if_asked(trainer)

    def _stop_if_asked(self, trainer: Trainer) -> None:
        number = _of_any_rank(trainer)
        if not number:
            return
        if not self.checkpoints.is_due(trainer):  # it has saved this step otherwise
            self.checkpoints.save(trainer)
        if trainer.is_global_zero:
            write_json_atomic(self.folder / NOTE, {"step": trainer.global_step})
        if signals.asked() is None:  # another rank's
            raise Stopped(number)
        signals.act()
        if trainer.is_global_zero:  # who answers the signal goes on
            (self.folder / NOTE).unlink(missing_ok=True)


@contextmanager
def noted_when_stopped(folder: Path, *, first: bool) -> Iterator[None]:
    """Keep in a run's folder that it was stopped, and say what was saved of it.

    Args:
        folder: of the run.
        first: whether this is the process of it that writes.
    """
    if first and (folder / NOTE).exists():  # somebody else's finished run may be read-only
        (folder / NOTE).unlink(missing_ok=True)
    try:
        yield
    except Stopped as stop:
        if first and folder.exists():
            step = read_stop(folder).get("step")
            write_json_atomic(folder / NOTE, {"signal": stop.name, "step": step})
            if step is not None:
                signals.note_saved(f"step {step} is saved in {folder}")
        raise


def read_stop(folder: Path) -> dict[str, Any]:
    """The note of a run that was stopped; nothing where it was not."""
    with suppress(OSError, UserError):
        return read_json(folder / NOTE, "delete it")
    return {}


def _of_any_rank(trainer: Trainer) -> int:
    """The signal that waits on any rank, or 0."""
    number = signals.asked() or 0
    if trainer.world_size == 1:
        return number
    of_all = torch.tensor(number, device=trainer.strategy.root_device)
    distributed.all_reduce(of_all, distributed.ReduceOp.MAX)
    return int(of_all)
