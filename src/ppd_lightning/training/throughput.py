"""The speed of a training, and log lines where there is no terminal for a progress bar."""

from __future__ import annotations

import logging
import time
from typing import Any

from lightning import LightningModule, Trainer
from lightning.pytorch.callbacks import Callback

from ppd_lightning.training.accumulation import ends_step

log = logging.getLogger(__name__)


class Speed(Callback):
    """Logs pairs a second over the last `every` steps; with `lines`, also a line of the main figures."""

    def __init__(self, pairs_per_step: int, every: int, *, lines: bool) -> None:
        self.pairs_per_step, self.every, self.lines = pairs_per_step, every, lines

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Start the clock."""
        self._since, self._step = time.monotonic(), trainer.global_step

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """At each logged step."""
        step = trainer.global_step
        if step % self.every or not ends_step(trainer, batch_idx):
            return
        now = time.monotonic()
        speed = (step - self._step) * self.pairs_per_step / (now - self._since)
        left = (trainer.max_steps - step) * self.pairs_per_step / speed
        self._since, self._step = now, step
        pl_module.log("train/pairs_per_second", speed)
        if self.lines and trainer.is_global_zero:
            figures = {name.removeprefix("train/"): value.item() for name, value in trainer.callback_metrics.items()}
            words = " ".join(
                f"{name} {figures[name]:.4g}" for name in ("loss", "implicit_accuracy", "margin") if name in figures
            )
            log.info("step %d/%d %s %.0f pairs/s %.0f s left", step, trainer.max_steps, words, speed, left)
