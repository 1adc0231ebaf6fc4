"""The speed of a training and how far it is: a bar where there is a terminal, lines of figures where there is none."""

from __future__ import annotations

import logging
import time
from typing import Any

from lightning import LightningModule, Trainer
from lightning.pytorch.callbacks import Callback

from ppd_lightning.progress import Counted
from ppd_lightning.training.accumulation import ends_step, is_due

log = logging.getLogger(__name__)


class Speed(Callback):
    """Logs pairs a second since the last logged step, and shows the main figures.

    Args:
        pairs_per_step: pairs of an optimizer step.
        every: steps between logged figures; the last step is logged too.
        bar: whether a bar shows them; else each logged step has a line.
    """

    def __init__(self, pairs_per_step: int, every: int, *, bar: bool) -> None:
        self.pairs_per_step, self.every, self.bar = pairs_per_step, every, bar
        self._figures = ""
        self._counted: Counted | None = None

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Start the clock."""
        self._since, self._step = time.monotonic(), trainer.global_step
        if self.bar:
            done, total = self.pairs_per_step * trainer.global_step, self.pairs_per_step * trainer.max_steps
            self._counted = Counted("pairs", total, done=done)
            self._counted.__enter__()

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """At each step."""
        if not ends_step(trainer, batch_idx):
            return
        step = trainer.global_step
        if is_due(step, self.every, trainer.max_steps):
            now = time.monotonic()
            speed = (step - self._step) * self.pairs_per_step / (now - self._since)
            left = (trainer.max_steps - step) * self.pairs_per_step / speed
            self._since, self._step = now, step
            pl_module.log("train/pairs_per_second", speed)
            if self._counted is None and trainer.is_global_zero:
                words = _words(trainer, ("loss", "implicit_accuracy", "margin"))
                log.info("step %d/%d %s %.0f pairs/s %.0f s left", step, trainer.max_steps, words, speed, left)
            if self._counted is not None:
                self._figures = _words(trainer, ("loss", "implicit_accuracy")).replace("implicit_", "")
        if self._counted is not None:
            self._counted.add(self.pairs_per_step, self._figures or f"step {step}")

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Take the bar away."""
        self._end(None)

    def on_exception(self, trainer: Trainer, pl_module: LightningModule, exception: BaseException) -> None:
        """Take the bar away, and leave the terminal as it was."""
        self._end(exception)

    def _end(self, error: BaseException | None) -> None:
        if self._counted is not None:
            self._counted.__exit__(None if error is None else type(error), error, None)
            self._counted = None


def _words(trainer: Trainer, names: tuple[str, ...]) -> str:
    """The figures that were logged last, of those that the objective has."""
    figures = {name.removeprefix("train/"): value.item() for name, value in trainer.callback_metrics.items()}
    return " ".join(f"{name} {figures[name]:.4g}" for name in names if name in figures)
