"""Where a sweeper chooses the values itself, as Optuna's does, its runs come here, and go to the launcher in the sweep.

Hydra takes plugins from this namespace only.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from hydra.core.utils import JobReturn
from hydra.plugins.launcher import Launcher
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig


class SweepLauncher(Launcher):
    """Composes and checks each run here, then starts it as every run of a sweep is started.

    Args:
        folder: the sweep's.
        config_dir: a further folder of options, or nothing.
    """

    def __init__(self, folder: str, config_dir: str | None = None) -> None:
        self.folder, self.config_dir = Path(folder), None if config_dir is None else Path(config_dir)

    def setup(self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig) -> None:
        """Hydra's, before the first runs."""
        self.context, self.config = hydra_context, config

    def launch(self, job_overrides: Sequence[Sequence[str]], initial_job_idx: int) -> Sequence[JobReturn]:
        """Run them; the value of each is its number that report.metric names, or None where it has none."""
        from ppd_lightning.multirun import launch_chosen  # Hydra imports this file to look for plugins

        values = launch_chosen(self.folder, job_overrides, initial_job_idx, self.config_dir, self.context, self.config)
        returns = []
        for overrides, value in zip(job_overrides, values, strict=True):
            returned = JobReturn(overrides=list(overrides))
            returned.return_value = value
            returned.status = returned.status.COMPLETED
            returns.append(returned)
        return returns
