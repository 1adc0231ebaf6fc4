"""metrics.csv: one row for each logged step, kept through kills and resumes."""

from __future__ import annotations

import csv
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TextIO

from lightning import LightningModule, Trainer
from lightning.pytorch.callbacks import Callback

from ppd_lightning.storage.atomic import atomic_path
from ppd_lightning.training.accumulation import ends_step, is_due
from ppd_lightning.training.logged_rows import read_metrics


class MetricsCsv(Callback):
    """Writes what was logged, every so many steps and at the last; Lightning's own CSV logger starts anew on resume.

    A callback and not a logger, because loggers get a step's figures only after its checkpoint was saved: a kill
    between the two would lose the row for good.

    Args:
        path: the file; rows after `start_step` are cut off, because a resumed run computes them again.
        start_step: optimizer steps that were done before.
        every: steps between rows.
    """

    def __init__(self, path: Path, start_step: int, every: int) -> None:
        self.path, self.every = path, every
        kept = [row for row in read_metrics(path) if int(row["step"]) <= start_step] if path.exists() else []
        self._rows: dict[int, dict[str, str]] = {int(row.pop("step")): row for row in kept}
        self._header: list[str] = []

    def state_dict(self) -> dict[str, Any]:
        """The rows, which a checkpoint keeps: a file that is damaged or gone is written again from it."""
        return {"rows": {step: dict(row) for step, row in self._rows.items()}}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """The rows of a checkpoint instead of those of the file."""
        self._rows = {int(step): dict(row) for step, row in state_dict["rows"].items()}

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Write what the checkpoint had."""
        if trainer.is_global_zero and self._rows:
            self._write_all()

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """At each logged step: the figures since the one before."""
        if ends_step(trainer, batch_idx) and is_due(trainer.global_step, self.every, trainer.max_steps):
            self._add(trainer, "train/")

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """The figures of the validation, in the row of the last training step."""
        if not trainer.sanity_checking:
            self._add(trainer, "validation/")

    def _add(self, trainer: Trainer, prefix: str) -> None:
        if not trainer.is_global_zero:
            return
        figures = trainer.callback_metrics.items()
        self.add(trainer.global_step, {name: value.item() for name, value in figures if name.startswith(prefix)})

    def add(self, step: int, figures: Mapping[str, float]) -> None:
        """Add figures to the row of a step."""
        row, new = {name: f"{value:.8g}" for name, value in figures.items()}, step not in self._rows
        self._rows.setdefault(step, {}).update(row)
        if new and row.keys() <= set(self._header):
            with self.path.open("a", newline="") as file:
                self._table(file).writerow({"step": step, **row})
        else:
            self._write_all()

    def _write_all(self) -> None:
        self._header = ["step", *dict.fromkeys(name for row in self._rows.values() for name in row)]
        with atomic_path(self.path) as unfinished, unfinished.open("w", newline="") as file:
            table = self._table(file)
            table.writeheader()
            table.writerows({"step": step, **row} for step, row in sorted(self._rows.items()))

    def _table(self, file: TextIO) -> csv.DictWriter[str]:
        return csv.DictWriter(file, self._header, restval="", lineterminator="\n")
