"""Where a training's figures go beside metrics.csv: TensorBoard and trackers."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from lightning.pytorch.loggers import Logger, MLFlowLogger, TensorBoardLogger, WandbLogger

from ppd_lightning.distributed.rank import ALONE, Rank
from ppd_lightning.errors import UserError
from ppd_lightning.storage.atomic import write_text_atomic
from ppd_lightning.training.hparams import FOLDER, log_session
from ppd_lightning.training.settings import Logger as Settings

log = logging.getLogger(__name__)

LONGEST = 250
"""Characters of a parameter that Lightning sends to MLflow."""
FINISHED, FAILED = "success", "failed"
"""The outcomes of a run, in Lightning's words."""


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


def make_loggers(settings: Settings, folder: Path, output: Path, *, start: int = 0, rank: Rank = ALONE) -> list[Logger]:
    """The loggers of a run; one that is resumed adds to the records that it has.

    Args:
        settings: which loggers.
        folder: of the run.
        output: where a tracker's records of all runs go unless the settings say where.
        start: the last step that was trained.
        rank: of this process.
    """
    loggers: list[Logger] = []
    if settings.tensorboard:
        loggers.append(TensorBoardLogger(folder, name="", version=FOLDER, purge_step=start, default_hp_metric=False))
    if settings.tracker == "wandb":
        records = Path(settings.location or output)
        records.mkdir(parents=True, exist_ok=True)
        loggers.append(
            WandbLogger(
                project=settings.project,
                name=folder.name,
                version=folder.name,
                save_dir=records,
                offline=settings.offline,
            )
        )
    if settings.tracker == "mlflow":
        loggers.append(_mlflow(settings, output, folder, rank))
    return loggers


def log_final(loggers: Sequence[Logger], settings: Mapping[str, Any], figures: Mapping[str, float], step: int) -> None:
    """Log a run's final figures beside its settings, so that runs can be compared.

    Args:
        loggers: of the run.
        settings: values by dotted key; what is no number or word is logged as text.
        figures: at the end, by name.
        step: the last one.
    """
    final = {f"final/{name}": value for name, value in figures.items()}
    plain = {
        key: value if isinstance(value, (bool, int, float, str)) else str(value) for key, value in settings.items()
    }
    for logger in loggers:
        if isinstance(logger, TensorBoardLogger):
            logger.log_metrics(final, step)
            log_session(logger.experiment._get_file_writer(), plain, step)
        else:
            logger.log_hyperparams(_not_logged(logger, plain) if isinstance(logger, MLFlowLogger) else plain)
            logger.log_metrics(final, step=step)


def end_loggers(loggers: Sequence[Logger], outcome: str) -> None:
    """Write out and close what is open, so that the next run of this process does not go on in it."""
    for logger in loggers:
        logger.finalize(outcome)
        if isinstance(logger, WandbLogger):
            import wandb  # type: ignore[import-not-found,unused-ignore]

            wandb.finish(exit_code=0 if outcome == FINISHED else 1)


def _not_logged(logger: MLFlowLogger, settings: Mapping[str, bool | float | str]) -> dict[str, bool | float | str]:
    """Those that MLflow does not have yet: what it has of a run that was resumed cannot be changed."""
    known: Mapping[str, str] = logger.experiment.get_run(logger.run_id).data.params
    others = [name for name, value in settings.items() if name in known and str(value)[:LONGEST] != known[name]]
    if others:
        log.info("MLflow keeps what it has of %s, though it is another value now", ", ".join(others))
    return {name: value for name, value in settings.items() if name not in known}


def _mlflow(settings: Settings, output: Path, folder: Path, rank: Rank) -> MLFlowLogger:
    """The MLflow run that this folder has begun, or a new one; its id lies in the folder."""
    output.mkdir(parents=True, exist_ok=True)
    known = folder / "mlflow_run"
    logger = MLFlowLogger(
        experiment_name=settings.project,
        run_name=folder.name,
        tracking_uri=settings.location or f"sqlite:///{output.resolve() / 'mlflow.db'}",
        run_id=known.read_text(encoding="utf-8") if known.exists() else None,
    )
    if rank.is_first and not known.exists() and logger.run_id is not None:
        write_text_atomic(known, logger.run_id)
    return logger
