"""Checkpoints that a kill cannot damage and that load without unpickling code."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import torch
from lightning.fabric.plugins.io.torch_io import TorchCheckpointIO
from lightning.pytorch.callbacks import ModelCheckpoint

from ppd_lightning.run.atomic import atomic_path


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


def last_checkpoint(folder: Path) -> Path:
    """Where the newest checkpoint of a run lies."""
    return folder / "checkpoints" / "last.ckpt"


def checkpoint_callback(folder: Path, every_steps: int) -> ModelCheckpoint:
    """Overwrites `last_checkpoint(folder)` every so many optimizer steps."""
    return ModelCheckpoint(
        dirpath=last_checkpoint(folder).parent,
        filename=last_checkpoint(folder).stem,
        every_n_train_steps=every_steps,
        save_top_k=1,
        save_on_train_epoch_end=False,
        enable_version_counter=False,
    )
