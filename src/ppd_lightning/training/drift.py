"""Drift: a preference training that grows worse on both images of its pairs than the frozen network is.

The loss looks at the difference of both errors only, so it may go down while the network forgets how to draw.
"""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Mapping, Sequence
from typing import Any

from lightning import LightningModule, Trainer
from lightning.pytorch.callbacks import Callback

from ppd_lightning.training.accumulation import ends_step, is_due

log = logging.getLogger(__name__)

LONG = 10
"""Logged steps, one after the other."""
LARGE = 0.5
"""Of the reference's error, on both images. Trainings that learn well are above it on the dispreferred ones alone."""
SIDES = ("preferred", "dispreferred")


def rise(figures: Mapping[str, float]) -> float | None:
    """By how much of the reference's error the policy's is above it, on the images where it is less.

    Args:
        figures: as they are logged; None is given where they hold no errors of both sides.
    """
    if any(f"train/{kind}_{side}" not in figures for kind in ("error", "gain") for side in SIDES):
        return None
    both = [(figures[f"train/error_{side}"], figures[f"train/gain_{side}"]) for side in SIDES]
    return min(gain / max(error - gain, 1e-12) for error, gain in both)


def drifts(rises: Sequence[float]) -> bool:
    """Whether the last `LONG` rises, one for each logged step, are all large."""
    return len(rises) >= LONG and min(rises[-LONG:]) > LARGE


class DriftWarning(Callback):
    """Warns once where a training drifts, with what to change.

    Args:
        every: steps between logged figures.
    """

    def __init__(self, every: int) -> None:
        self.every, self._warned = every, False
        self._rises: deque[float] = deque(maxlen=LONG)

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """At each logged step."""
        step = trainer.global_step
        if self._warned or not trainer.is_global_zero or not ends_step(trainer, batch_idx):
            return
        if not is_due(step, self.every, trainer.max_steps):
            return
        found = rise({name: value.item() for name, value in trainer.callback_metrics.items()})
        if found is None:
            return
        self._rises.append(found)
        if drifts(list(self._rises)):
            self._warned = True
            log.warning(
                "step %d: for %d logged steps the errors on both images of the pairs have been more than %.0f %% above "
                "the frozen network's (now %.0f %% or more): the training drifts away from images; lower optimizer.lr, "
                "or raise objective.beta or objective.sft_weight",
                step,
                LONG,
                100 * LARGE,
                100 * found,
            )
