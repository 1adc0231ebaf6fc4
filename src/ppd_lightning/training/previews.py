"""Images that a training draws while it runs."""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from lightning import LightningModule, Trainer
from lightning.pytorch.callbacks import Callback
from lightning.pytorch.loggers import MLFlowLogger, TensorBoardLogger, WandbLogger
from PIL import Image

from ppd_lightning.errors import UserError
from ppd_lightning.storage.atomic import atomic_path
from ppd_lightning.training.accumulation import ends_step
from ppd_lightning.training.module import PPDModule

log = logging.getLogger(__name__)


class Previews(Callback):
    """Keeps a sheet of step 0, of every `every`th step and of the last one, and sends it to the run's loggers.

    A sheet comes before the checkpoint of its step: a run that goes on from one has all the sheets up to it, and draws
    those that follow again.

    Args:
        draw: gives the sheet of the networks as they are; must leave them and the global random state as they are.
        folder: where the sheets lie, as step-000100.png.
        every: optimizer steps between sheets.
    """

    def __init__(self, draw: Callable[[], Image.Image], folder: Path, every: int) -> None:
        self.draw, self.folder, self.every = draw, folder, every

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """The sheet of a new branch."""
        if trainer.global_step == 0:
            self._draw(trainer)

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """The sheet of an optimizer step that gets one.

        Raises:
            UserError: a figure, the gradient or a weight is not finite.
        """
        step = trainer.global_step
        if ends_step(trainer, batch_idx) and (step % self.every == 0 or step == trainer.max_steps):
            if isinstance(pl_module, PPDModule):
                pl_module.require_sound()
            self._draw(trainer)

    def _draw(self, trainer: Trainer) -> None:
        if not trainer.is_global_zero:
            return
        step = trainer.global_step
        path = preview_path(self.folder, step)
        try:
            sheet = self.draw()
        except UserError as error:  # a training that draws nothing yet may learn it again
            log.warning("step %d has no preview: %s", step, error)
            return
        with atomic_path(path) as unfinished:
            sheet.save(unfinished)
        for logger in trainer.loggers:
            if isinstance(logger, TensorBoardLogger):
                logger.experiment.add_image("previews", np.asarray(sheet), step, dataformats="HWC")
            elif isinstance(logger, WandbLogger):
                logger.log_image("previews", [sheet], step)
            elif isinstance(logger, MLFlowLogger):
                logger.experiment.log_image(logger.run_id, sheet, key="previews", step=step)
        log.info("step %d is drawn in %s", step, path)


def preview_path(folder: Path, step: int) -> Path:
    """Where the sheet of a step lies."""
    return folder / f"step-{step:06d}.png"
