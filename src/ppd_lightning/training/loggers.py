"""Where a training's figures go beside metrics.csv, and that every logger is ended whatever becomes of the run."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from lightning.pytorch.loggers import Logger, MLFlowLogger, TensorBoardLogger, WandbLogger

from ppd_lightning.config.schemas import Config
from ppd_lightning.config.schemas import Logger as Settings
from ppd_lightning.distributed.rank import ALONE, Place
from ppd_lightning.errors import UserError
from ppd_lightning.storage.atomic import write_text_atomic

FINISHED, FAILED = "success", "failed"
"""What becomes of a run, in Lightning's words."""

COMPARED = ("data", "model", "user", "objective", "optimizer", "trainer")
"""The groups whose settings are shown beside a run's final figures."""


def require_loggers(settings: Settings) -> None:
    """Refuse a tracker whose package is missing, before anything else is done.

    Raises:
        UserError: so it is, with how to get it.
    """
    tracker = settings.tracker
    if tracker is not None and find_spec(tracker) is None:
        raise UserError(
            f"logger.tracker: {tracker} is not installed; pip install 'ppd-lightning[{tracker}]', or use logger=default"
        )


def make_loggers(config: Config, folder: Path, start: int, here: Place = ALONE) -> list[Logger]:
    """The loggers of a run whose last step was `start`; one that goes on adds to the records that it has."""
    settings, output = config.logger, Path(config.output)
    loggers: list[Logger] = []
    if settings.tensorboard:
        loggers.append(
            TensorBoardLogger(folder, name="", version="tensorboard", purge_step=start, default_hp_metric=False)
        )
    if settings.tracker == "wandb":
        place = Path(settings.place or output)
        place.mkdir(parents=True, exist_ok=True)
        loggers.append(
            WandbLogger(
                project=settings.project,
                name=folder.name,
                version=folder.name,
                save_dir=place,
                offline=settings.offline,
            )
        )
    if settings.tracker == "mlflow":
        loggers.append(_mlflow(settings, output, folder, here))
    return loggers


def log_final(loggers: Sequence[Logger], config: Config, figures: Mapping[str, float]) -> None:
    """Tell what the run came to beside its settings, so that runs can be compared."""
    settings, final = _flat(config), {f"final/{name}": value for name, value in figures.items()}
    for logger in loggers:
        if isinstance(logger, TensorBoardLogger):
            logger.log_hyperparams(settings, metrics=final, step=config.trainer.max_steps)
        else:
            logger.log_hyperparams(settings)
            logger.log_metrics(final, step=config.trainer.max_steps)


def end_loggers(loggers: Sequence[Logger], outcome: str) -> None:
    """Write out and close what is open, so that the next run of this process does not go on in it."""
    for logger in loggers:
        logger.finalize(outcome)
        if isinstance(logger, WandbLogger):
            import wandb  # type: ignore[import-not-found,unused-ignore]

            wandb.finish(exit_code=0 if outcome == FINISHED else 1)


def _mlflow(settings: Settings, output: Path, folder: Path, here: Place) -> MLFlowLogger:
    """The run that this folder has begun, or a new one; its name for MLflow lies in the folder."""
    output.mkdir(parents=True, exist_ok=True)
    known = folder / "mlflow_run"
    logger = MLFlowLogger(
        experiment_name=settings.project,
        run_name=folder.name,
        tracking_uri=settings.place or f"sqlite:///{output.resolve() / 'mlflow.db'}",
        run_id=known.read_text(encoding="utf-8") if known.exists() else None,
    )
    if here.is_first and not known.exists() and logger.run_id is not None:
        write_text_atomic(known, logger.run_id)
    return logger


def _flat(config: Config) -> dict[str, Any]:
    """The settings that make one run another, by dotted key; what is no number or word as text."""
    flat: dict[str, Any] = {"seed": config.seed, "mode": config.mode}
    for group in COMPARED:
        for name, value in asdict(getattr(config, group)).items():
            flat[f"{group}.{name}"] = value if isinstance(value, (bool, int, float, str)) else str(value)
    return flat
