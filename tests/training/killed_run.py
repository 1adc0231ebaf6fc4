"""`ppd train` in a process of its own that is killed, as by the power switch, at a chosen moment."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Sequence
from typing import Any

from ppd_lightning.commands import train
from ppd_lightning.config.compose import compose
from ppd_lightning.training import checkpoints
from ppd_lightning.training.checkpoints import AtomicCheckpointIO, LastCheckpoint
from ppd_lightning.training.metrics_csv import MetricsCsv
from ppd_lightning.training.module import PPDModule

MOMENTS: dict[str, tuple[Any, str, str]] = {
    "in a step": (PPDModule, "on_after_backward", "before"),
    "before the metrics of a step": (MetricsCsv, "on_train_batch_end", "before"),
    "in a validation": (PPDModule, "validation_step", "after"),
    "after a validation": (LastCheckpoint, "on_validation_end", "before"),
    "before a checkpoint is renamed": (checkpoints.torch, "save", "after"),
    "right after a checkpoint": (AtomicCheckpointIO, "save_checkpoint", "after"),
    "after the adapter": (train, "save_branch", "after"),
}
"""What is called when the process dies, and on which side of that call."""


def train_until(overrides: Sequence[str], moment: str | None = None, call: int = 1) -> None:
    """Run the command; die at the `call`th time of `moment`."""
    if moment is not None:
        owner, name, side = MOMENTS[moment]
        setattr(owner, name, _fatal(getattr(owner, name), side, call))
    train.run(compose(overrides))


def _fatal(function: Callable[..., Any], side: str, call: int) -> Callable[..., Any]:
    calls = 0

    def wrapped(*args: Any, **kwargs: Any) -> Any:
        nonlocal calls
        calls += 1
        if calls == call and side == "before":
            os.kill(os.getpid(), signal.SIGKILL)
        result = function(*args, **kwargs)
        if calls == call:
            os.kill(os.getpid(), signal.SIGKILL)
        return result

    return wrapped
