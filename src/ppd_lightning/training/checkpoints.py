"""Checkpoints that a kill cannot damage, that load without unpickling code, and whose damage is seen.

    checkpoints/step-000300.0123456789abcdef.ckpt     the last two: the step, and the SHA-256 of the content
    checkpoints/damaged-step-000300.012...def.ckpt    set aside

A checkpoint is written under a temporary name and counts when it has its own. So a kill leaves the last two, or one
more.
"""

from __future__ import annotations

import logging
import os
import re
from pathlib import Path
from typing import Any

import torch
from lightning import LightningModule, Trainer
from lightning.fabric.plugins.io.torch_io import TorchCheckpointIO
from lightning.pytorch.callbacks import Checkpoint

from ppd_lightning.errors import UserError
from ppd_lightning.storage.atomic import atomic_path
from ppd_lightning.storage.checksums import known_sha256
from ppd_lightning.storage.fingerprints import file_sha256
from ppd_lightning.training.accumulation import ends_step, is_due
from ppd_lightning.training.finite import first_nonfinite

log = logging.getLogger(__name__)

KEPT = 2
"""Checkpoints of a run."""
DIGITS = 16
"""Of the SHA-256, in a name."""
NAME = re.compile(rf"step-(\d{{6,}})\.([0-9a-f]{{{DIGITS}}})\.ckpt")
ASIDE = "damaged-"
"""Before the name of one that is set aside."""
PARTS = ("global_step", "loops", "lr_schedulers", "optimizer_states", "pytorch-lightning_version", "state_dict")
"""What a training cannot go on without."""


class AtomicCheckpointIO(TorchCheckpointIO):
    """Writes to a temporary name, syncs and renames; reads what has its checksum; errors are never swallowed."""

    def save_checkpoint(
        self, checkpoint: dict[str, Any], path: str | os.PathLike[str], storage_options: Any = None
    ) -> None:
        """Write it under `path` with the checksum in the name, and remove those before the last two; local paths."""
        path = Path(path)
        with atomic_path(path, named=lambda written: f"{path.stem}.{file_sha256(written)[:DIGITS]}.ckpt") as unfinished:
            torch.save(checkpoint, unfinished)
        _keep_last(path.parent)

    def load_checkpoint(self, path: Any, map_location: Any = None, weights_only: bool | None = True) -> dict[str, Any]:
        """See the base class; weights-only whatever is asked.

        Raises:
            DamagedError: its checksum differs, or it is no checkpoint of a training.
        """
        return read_checkpoint(Path(path), map_location)


class DamagedError(UserError):
    """A checkpoint from which no training can go on."""


class LastCheckpoint(Checkpoint):
    """Saves a checkpoint every so many optimizer steps and at the last one.

    After the validation of that step and the writing of its metrics, so that a run that goes on from it has both.

    Args:
        folder: of the run.
        every: steps between checkpoints.
        validates: whether a validation follows on each of these steps.
    """

    def __init__(self, folder: Path, every: int, *, validates: bool) -> None:
        self.folder, self.every, self.validates = folder, every, validates

    def save(self, trainer: Trainer) -> None:
        """Save one now, at the end of an optimizer step; every rank must call it.

        Raises:
            UserError: a loss, a gradient or a weight is not finite; nothing is saved then.
        """
        trainer.save_checkpoint(checkpoint_folder(self.folder) / f"step-{trainer.global_step:06d}.ckpt")

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


def checkpoint_folder(folder: Path) -> Path:
    """Where the checkpoints of a run lie."""
    return folder / "checkpoints"


def last_checkpoint(folder: Path) -> Path | None:
    """The newest checkpoint of a run, by its name; None where there is none."""
    return next(reversed(_checkpoints(checkpoint_folder(folder))), None)


def step_of(checkpoint: Path) -> int:
    """The step that a checkpoint was saved after, by its name."""
    return int(checkpoint.name.split(".")[0].removeprefix("step-"))


def sound_checkpoint(folder: Path) -> Path | None:
    """The newest sound checkpoint of a run; None where none was saved. Every byte is read.

    Those that are damaged are set aside, under another name. Those before the last two go: whoever was killed after it
    had saved may have left them.

    Raises:
        UserError: all that were saved are damaged, with what to delete to train from step 0.
    """
    checkpoints, damaged = checkpoint_folder(folder), []
    for path in reversed(_checkpoints(checkpoints)):
        try:
            read_checkpoint(path)
        except DamagedError as error:
            path.rename(path.with_name(ASIDE + path.name))
            damaged.extend(error.faults)
            continue
        for fault in damaged:
            log.warning("%s; it is set aside (%s...), step %d of %s is used instead", fault, ASIDE, step_of(path), path)
        _keep_last(checkpoints)
        return path
    aside = sorted(checkpoints.glob(f"{ASIDE}*"))
    if not aside:
        return None
    why = "; ".join(damaged) or f"{', '.join(path.name for path in aside)} were found damaged"
    raise UserError(
        f"{checkpoints}: no checkpoint of this run is sound ({why}); put back sound ones from a copy, or delete this "
        "folder and run the same command again, which trains from step 0"
    )


def read_checkpoint(path: Path, map_location: Any = "cpu") -> dict[str, Any]:
    """What a checkpoint holds; nothing of it is run.

    Raises:
        DamagedError: its bytes are not those that were written, it is no checkpoint of a training, or a number of it is
            not finite.
    """
    named = NAME.fullmatch(path.name)
    if named is None:
        raise DamagedError(f"{path}: no checkpoint of this version, whose names are step-STEP.SHA256.ckpt")
    if not known_sha256(path).startswith(named[2]):
        raise DamagedError(f"{path}: damaged (its checksum differs)")
    try:
        found = torch.load(path, map_location=map_location, weights_only=True)
    except (MemoryError, OSError):
        raise
    except Exception as error:  # of pickle, of zip files, of torch, of whatever the bytes mean
        reason = " ".join(str(error).split())[:200]
        raise DamagedError(f"{path}: holds more than weights and numbers, or is no checkpoint ({reason})") from None
    lacking = [part for part in PARTS if not isinstance(found, dict) or part not in found]
    if lacking:
        raise DamagedError(f"{path}: no checkpoint of a training, it lacks {', '.join(lacking)}")
    broken = first_nonfinite(found)
    if broken is not None:
        raise DamagedError(f"{path}: {broken[0]} holds {broken[1]}")
    checkpoint: dict[str, Any] = found
    return checkpoint


def _checkpoints(folder: Path) -> list[Path]:
    """The checkpoints in a folder, by step, those of one step by age."""
    found = [path for path in folder.glob("step-*.ckpt") if NAME.fullmatch(path.name)]
    return sorted(found, key=lambda path: (step_of(path), path.stat().st_mtime_ns))


def _keep_last(folder: Path) -> None:
    """Remove what came before the last two; with two sound ones nobody needs those that were set aside."""
    found = _checkpoints(folder)
    for path in [*found[:-KEPT], *(folder.glob(f"{ASIDE}*") if len(found) >= KEPT else ())]:
        path.unlink(missing_ok=True)
