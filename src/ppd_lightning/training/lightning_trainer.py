"""Lightning's trainer as a training uses it: what it writes, on what, and how it ends."""

from __future__ import annotations

import logging
import signal
import sys
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from lightning import Trainer
from lightning.pytorch.callbacks import Callback
from lightning.pytorch.loggers import Logger

from ppd_lightning.data.loading import workers_may_die
from ppd_lightning.distributed.group import OwnSignals, RankEnvironment, strategy
from ppd_lightning.distributed.rank import ALONE, Rank
from ppd_lightning.errors import UserError
from ppd_lightning.signals import deferred
from ppd_lightning.training.accumulation import micro_batches
from ppd_lightning.training.checkpoints import AtomicCheckpointIO, LastCheckpoint, last_checkpoint, step_of
from ppd_lightning.training.data_module import PreferenceDataModule
from ppd_lightning.training.drift import DriftWarning
from ppd_lightning.training.health import NotFiniteError
from ppd_lightning.training.metrics_csv import MetricsCsv
from ppd_lightning.training.module import PPDModule
from ppd_lightning.training.settings import Trainer as Settings
from ppd_lightning.training.stopping import SaveWhenStopped
from ppd_lightning.training.throughput import Speed


def build_trainer(
    settings: Settings,
    folder: Path,
    *,
    start: int = 0,
    loggers: Sequence[Logger] = (),
    rank: Rank = ALONE,
    first: Sequence[Callback] = (),
    grad_clip: float | None = None,
    csv: bool = True,
    validates: bool = False,
) -> Trainer:
    """Lightning's trainer with the run's checkpoints and progress.

    Args:
        settings: how long and on what it trains.
        folder: of the run.
        start: the step that it goes on from.
        loggers: see `make_loggers`.
        rank: of this process.
        first: callbacks that come before the checkpoint of a step.
        grad_clip: largest norm of the gradient; None does not clip.
        csv: whether there is a metrics.csv in the folder.
        validates: whether each checkpoint, also that of the last step, comes with a validation.
    """
    logging.getLogger("lightning.pytorch").setLevel(logging.WARNING)  # its notices and tips say nothing about the run
    warnings.filterwarnings("ignore", ".*module\\(s\\) in eval mode.*")  # the frozen network is, on purpose
    warnings.filterwarnings("ignore", ".*`srun` command.*")  # `RankEnvironment` knows the rank
    warnings.filterwarnings("ignore", ".*sync_dist=True.*")  # figures are means over all ranks already
    warnings.filterwarnings("ignore", ".*lru_cache.*")  # of diffusers, where its checkpointing is compiled
    warnings.filterwarnings("ignore", ".*LeafSpec.*", category=FutureWarning)
    terminal = settings.progress and sys.stderr.isatty() and rank.is_first
    checkpoints = LastCheckpoint(folder, settings.checkpoint_every, validates=validates)
    callbacks: list[Callback] = [
        *first,
        OwnSignals(),
        checkpoints,
        SaveWhenStopped(checkpoints, folder),
        Speed(settings.batch_size, settings.log_every, bar=terminal),
        DriftWarning(settings.log_every),
    ]
    if csv:
        callbacks.append(MetricsCsv(folder / "metrics.csv", start, settings.log_every))
    parts = micro_batches(settings.batch_size, settings.micro_batch_size, rank.size)
    return Trainer(
        accelerator=settings.accelerator,
        devices=rank.local_size,
        num_nodes=rank.size // rank.local_size,
        strategy=strategy(rank),
        **loop_arguments(settings, parts, grad_clip=grad_clip, validates=validates),
        callbacks=callbacks,
        enable_progress_bar=False,  # `Speed` has one
        enable_model_summary=False,
        logger=list(loggers),
        plugins=[AtomicCheckpointIO(), RankEnvironment(rank)],
        default_root_dir=folder,
    )


def loop_arguments(
    settings: Settings, parts: int, *, grad_clip: float | None = None, validates: bool = False
) -> dict[str, Any]:
    """The arguments of Lightning's trainer without which a `PPDModule` is not trained as its settings say.

    Args:
        parts: micro-batches of a step.
        settings, grad_clip, validates: as of `build_trainer`.
    """
    return {
        "precision": "32-true",  # of the branch; a network in bf16 casts for itself
        "accumulate_grad_batches": parts,
        "max_steps": settings.max_steps,
        "max_epochs": -1,
        "gradient_clip_val": grad_clip,
        "check_val_every_n_epoch": None,
        "val_check_interval": settings.checkpoint_every * parts if validates else None,
        "limit_val_batches": None if validates else 0,
        "num_sanity_val_steps": 0,
        "log_every_n_steps": settings.log_every,
        "use_distributed_sampler": False,  # the data module's stream knows rank and world size itself
    }


def fit(trainer: Trainer, module: PPDModule, data: PreferenceDataModule, checkpoint: Path | None) -> None:
    """Lightning's training; a signal waits for the end of the step, where Lightning would end the whole process.

    Raises:
        UserError: a loss, a gradient or a weight is not finite, with what is to be changed and what is kept.
        MachineError: a process that makes batches ended.
    """
    handler = signal.getsignal(signal.SIGINT)
    try:
        with deferred(), workers_may_die("data.workers", data.workers):
            trainer.fit(module, data, ckpt_path=checkpoint, weights_only=True)
    except NotFiniteError as stop:
        faults = data.unsound_inputs(stop.found.pairs) or stop.faults
        raise UserError([f"{fault}; {_kept(trainer)}" for fault in faults]) from None
    except SystemExit as ended:
        if isinstance(ended.__context__, KeyboardInterrupt):
            signal.signal(signal.SIGINT, handler)
            raise ended.__context__ from None
        raise  # submitit's, which has queued the job again


def _kept(trainer: Trainer) -> str:
    """What there is of a training that stops."""
    checkpoint = last_checkpoint(Path(trainer.default_root_dir))
    if checkpoint is None:
        return "no checkpoint was saved before"
    return f"the last sound checkpoint is kept: {checkpoint}, of step {step_of(checkpoint)}"
