"""Lightning's trainer as a training uses it: what it writes, on what, and how it ends."""

from __future__ import annotations

import logging
import signal
import sys
import warnings
from collections.abc import Sequence
from pathlib import Path

from lightning import Trainer
from lightning.pytorch.callbacks import Callback, TQDMProgressBar
from lightning.pytorch.loggers import Logger

from ppd_lightning.config.schemas import Config
from ppd_lightning.distributed.group import OwnSignals, PlacedEnvironment, strategy
from ppd_lightning.distributed.rank import ALONE, Place
from ppd_lightning.training.accumulation import micro_batches
from ppd_lightning.training.checkpoints import AtomicCheckpointIO, LastCheckpoint, last_checkpoint
from ppd_lightning.training.data_module import PreferenceDataModule
from ppd_lightning.training.metrics_csv import MetricsCsv
from ppd_lightning.training.module import PPDModule
from ppd_lightning.training.throughput import Speed


def build_trainer(
    config: Config,
    folder: Path,
    start: int,
    loggers: Sequence[Logger],
    here: Place = ALONE,
    first: Sequence[Callback] = (),
    *,
    validates: bool = False,
) -> Trainer:
    """Lightning's trainer with the run's checkpoints and progress.

    Args:
        start: the step that it goes on from.
        first: what is to be done before the checkpoint of a step.
        validates: whether each checkpoint comes with a validation.
    """
    logging.getLogger("lightning.pytorch").setLevel(logging.WARNING)  # its notices and tips say nothing about the run
    warnings.filterwarnings("ignore", ".*module\\(s\\) in eval mode.*")  # the prior is, on purpose
    warnings.filterwarnings("ignore", ".*`srun` command.*")  # it is told where it is
    warnings.filterwarnings("ignore", ".*sync_dist=True.*")  # figures are means over all ranks already
    warnings.filterwarnings("ignore", ".*lru_cache.*")  # of diffusers, where its checkpointing is compiled
    warnings.filterwarnings("ignore", ".*LeafSpec.*", category=FutureWarning)
    terminal = config.trainer.progress and sys.stderr.isatty() and here.is_first
    callbacks: list[Callback] = [
        *first,
        LastCheckpoint(last_checkpoint(folder), config.trainer.checkpoint_every, validates=validates),
        Speed(config.trainer.batch_size, config.trainer.log_every, lines=not terminal),
    ]
    if config.logger.csv:
        callbacks.append(MetricsCsv(folder / "metrics.csv", start, config.trainer.log_every))
    if here.size > 1:
        callbacks.append(OwnSignals())
    parts = micro_batches(config.trainer, here.size)
    return Trainer(
        accelerator=config.trainer.accelerator,
        devices=here.local_size,
        num_nodes=here.size // here.local_size,
        strategy=strategy(here),
        precision="32-true",  # of the branch; a prior in bf16 casts for itself
        accumulate_grad_batches=parts,
        max_steps=config.trainer.max_steps,
        max_epochs=-1,
        gradient_clip_val=config.optimizer.grad_clip,
        check_val_every_n_epoch=None,
        val_check_interval=config.trainer.checkpoint_every * parts if validates else None,
        limit_val_batches=None if validates else 0,
        num_sanity_val_steps=0,
        log_every_n_steps=config.trainer.log_every,
        callbacks=[*callbacks, TQDMProgressBar()] if terminal else callbacks,
        enable_progress_bar=terminal,
        enable_model_summary=False,
        logger=list(loggers),
        plugins=[AtomicCheckpointIO(), PlacedEnvironment(here)],
        use_distributed_sampler=False,  # the data module's stream knows rank and world size itself
        default_root_dir=folder,
    )


def fit(trainer: Trainer, module: PPDModule, data: PreferenceDataModule, checkpoint: Path | None) -> None:
    """Lightning's training; an interrupt stays one, where Lightning would end the whole process."""
    handler = signal.getsignal(signal.SIGINT)
    try:
        trainer.fit(module, data, ckpt_path=checkpoint, weights_only=True)
    except SystemExit as ended:
        signal.signal(signal.SIGINT, handler)
        if isinstance(ended.__context__, KeyboardInterrupt):
            raise KeyboardInterrupt from ended
        raise  # submitit's, which has queued the job again
