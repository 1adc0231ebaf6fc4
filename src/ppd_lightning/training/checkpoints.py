"""Checkpoints that a kill cannot damage and that load without unpickling code."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import torch
from lightning import LightningModule, Trainer
from lightning.fabric.plugins.io.torch_io import TorchCheckpointIO
from lightning.pytorch.callbacks import Checkpoint

from ppd_lightning.storage.atomic import atomic_path
from ppd_lightning.training.accumulation import ends_step, is_due


class AtomicCheckpointIO(TorchCheckpointIO):
    """Writes to a temporary name, syncs and renames; reads with weights-only loading; errors are never swallowed."""

    def save_checkpoint(
        self, checkpoint: dict[str, Any], path: str | os.PathLike[str], storage_options: Any = None
    ) -> None:
        """See the base class; only local paths."""
        with atomic_path(Path(path)) as unfinished:
            torch.save(checkpoint, unfinished)

    def load_checkpoint(self, path: Any, map_location: Any = None, weights_only: bool | None = True) -> dict[str, Any]:
        """See the base class; weights-only whatever is asked."""
        loaded: dict[str, Any] = torch.load(path, map_location=map_location, weights_only=True)
        return loaded


class LastCheckpoint(Checkpoint):
    """Overwrites one checkpoint every so many optimizer steps and at the last one.

    After the validation of that step and the writing of its metrics, so that a run that goes on from it has both.

    Args:
        path: where it lies, `last_checkpoint`.
        every: steps between checkpoints.
        validates: whether a validation follows on each of these steps.
    """

    def __init__(self, path: Path, every: int, *, validates: bool) -> None:
        self.path, self.every, self.validates = path, every, validates

    def save(self, trainer: Trainer) -> None:
        """Save one now, at the end of an optimizer step; every rank must call it."""
        trainer.save_checkpoint(self.path)

    def is_due(self, trainer: Trainer) -> bool:
        """Whether this saves, or has saved, the step that has just ended."""
        return is_due(trainer.global_step, self.every, trainer.max_steps)

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Save where no validation follows; see to it that one follows the last step."""
        if not ends_step(trainer, batch_idx):
            return
        if trainer.global_step == trainer.max_steps:
            trainer.should_stop = True  # Lightning validates and logs before it stops, but not at max_steps by itself
        if not self.validates and self.is_due(trainer):
            self.save(trainer)

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Save where one did."""
        if self.validates and not trainer.sanity_checking and self.is_due(trainer):
            self.save(trainer)


def last_checkpoint(folder: Path) -> Path:
    """Where the newest checkpoint of a run lies."""
    return folder / "checkpoints" / "last.ckpt"
