"""`ppd train`: one training run in a folder that comes from its configuration."""

from __future__ import annotations

import json
import logging
import math
import signal
import sys
import time
import warnings
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from diffusers import StableCascadeUNet
from lightning import Trainer, seed_everything
from lightning.pytorch.callbacks import Callback, TQDMProgressBar
from lightning.pytorch.loggers import Logger

from ppd_lightning.config.compose import as_yaml
from ppd_lightning.config.schemas import Config
from ppd_lightning.diffusion.schedule import CosineSchedule
from ppd_lightning.diffusion.weighting import TimeWeight
from ppd_lightning.generation.previews import preview_sheet
from ppd_lightning.models.adapter import base_fingerprint, save_adapter
from ppd_lightning.models.devices import DTYPES
from ppd_lightning.models.released import ReleasedModel, open_model
from ppd_lightning.models.user_branch import attach_user_branch
from ppd_lightning.run.atomic import write_json_atomic, write_text_atomic
from ppd_lightning.run.errors import UserError
from ppd_lightning.run.folders import run_folder
from ppd_lightning.run.place import ALONE, Place, place
from ppd_lightning.training.accumulation import micro_batches
from ppd_lightning.training.average import BranchAverage
from ppd_lightning.training.checkpoints import AtomicCheckpointIO, LastCheckpoint, last_checkpoint
from ppd_lightning.training.data_module import PreferenceDataModule
from ppd_lightning.training.local_ranks import run_ranks
from ppd_lightning.training.loggers import FAILED, FINISHED, end_loggers, log_final, make_loggers, require_loggers
from ppd_lightning.training.metrics_csv import MetricsCsv, read_metrics
from ppd_lightning.training.module import PPDModule
from ppd_lightning.training.noised import Batch
from ppd_lightning.training.previews import Previews
from ppd_lightning.training.progress import Speed
from ppd_lightning.training.ranks import OwnSignals, PlacedEnvironment, Ranks, connected, require_fitting, strategy
from ppd_lightning.training.reference_error import reference_error_by_time
from ppd_lightning.training.stored_reference import StoredReference
from ppd_lightning.users.embeddings import users_fingerprint

log = logging.getLogger(__name__)


LN2 = math.log(2)
LARGEST_NOISE = 0.5
"""Of a logit: a sigmoid of 0.38 to 0.62 where it should be a half."""


def run(config: Config) -> dict[str, Any]:
    """Train, or go on with a training that was cut off, or read what a finished one measured.

    With several devices each has a process of its own (a rank): they are started here, unless this process is one.

    Returns:
        the summary that is also in the run folder.

    Raises:
        UserError: a store or the model is missing or stale, a logger's package is missing, or the processes that were
            started do not fit the configuration or have different ones.
    """
    folder, here = run_folder(config), place()
    if here.size == 1 and (folder / ".done").exists():
        _tell_finished(folder)
        return _summary(folder)
    require_loggers(config.logger)
    require_fitting(config.trainer, here)
    if here.size < config.trainer.devices:
        write_text_atomic(folder / "config.yaml", as_yaml(config))
        arguments = [str(folder / "config.yaml")]
        run_ranks("ppd_lightning.commands.rank", arguments, config.trainer.devices, config.trainer.threads)
        return _summary(folder)
    with connected(config.trainer, here) as ranks:
        ranks.require_same(config)
        if ranks.of_first((folder / ".done").exists()):
            _tell_finished(folder)
        else:
            _train(config, folder, ranks)
            ranks.meet()
    return _summary(folder)


def _train(config: Config, folder: Path, ranks: Ranks) -> None:
    """One rank's part of the training."""
    begun = time.monotonic()
    if config.trainer.threads is not None:
        torch.set_num_threads(config.trainer.threads)
    checkpoint = last_checkpoint(folder)
    start = ranks.of_first(_steps_done(checkpoint))
    data = PreferenceDataModule(config)
    data.start_step = start
    loggers = make_loggers(config, folder, start, ranks.place)
    outcome = FAILED
    try:
        with ranks.together():
            data.setup("fit")
            validates = len(data.val_dataloader()) > 0
            trainer = build_trainer(config, folder, start, loggers, ranks.place, validates=validates)
            model = open_model(config.model)
            prior = model.load_prior(DTYPES[config.trainer.precision]).to(trainer.strategy.root_device)
        if config.trainer.reference == "stored" and config.objective.name != "sft":
            _read_reference(config, model, data, prior, ranks)
        with ranks.together():
            module = build_module(config, prior, data, ranks.place.size).to(trainer.strategy.root_device)
            first: list[Callback] = []  # before the checkpoint of their step
            average = None
            if config.optimizer.ema_decay is not None:
                average = BranchAverage(module.branch, config.optimizer.ema_decay)
                first.append(average)
            if config.trainer.preview_every is not None:
                sheet = preview_sheet(config, model, prior, module.branch)
                first.append(Previews(sheet, folder / "previews", config.trainer.preview_every))
            trainer.callbacks[:0] = first  # type: ignore[attr-defined]
            if ranks.place.is_first:
                write_text_atomic(folder / "config.yaml", as_yaml(config))
            step0_loss = _self_test(module, data)
        if start:
            log.info("going on at step %d of %d", start, config.trainer.max_steps)
        _fit(trainer, module, data, checkpoint if start else None)
        if ranks.place.is_first:
            summary: dict[str, Any] = {
                "run": str(folder),
                "step0_loss": step0_loss,
                "steps": config.trainer.max_steps,
                "pairs": config.trainer.max_steps * config.trainer.batch_size,
                "trainable_parameters": sum(weight.numel() for weight in module.branch.parameters()),
                "coefficient": module.coefficient,
                "beta_dpo": 2 * module.coefficient,
                **_last_figures(folder),
            }
            _save(config, folder, module, average, users_fingerprint(config, model))
            log_final(loggers, config, {name: value for name, value in summary.items() if "/" in name})
            write_json_atomic(folder / "summary.json", summary | {"seconds": round(time.monotonic() - begun, 1)})
        outcome = FINISHED
    finally:
        end_loggers(loggers, outcome)
    if ranks.place.is_first:
        (folder / ".done").touch()


def _fit(trainer: Trainer, module: PPDModule, data: PreferenceDataModule, checkpoint: Path | None) -> None:
    """Lightning's training; an interrupt stays one, where Lightning would end the whole process."""
    handler = signal.getsignal(signal.SIGINT)
    try:
        trainer.fit(module, data, ckpt_path=checkpoint, weights_only=True)
    except SystemExit as ended:
        signal.signal(signal.SIGINT, handler)
        raise KeyboardInterrupt from ended


def _save(config: Config, folder: Path, module: PPDModule, average: BranchAverage | None, users: str) -> None:
    """Write the trained weights and their average, saying how users were described; leaves the latter in the module."""
    told: dict[str, Any] = {
        "base": base_fingerprint(module.prior),
        "run": folder.name,
        "configuration": asdict(config),
        "users": users,
    }
    save_adapter(module.branch, folder / "adapter.safetensors", **told)
    if average is not None:
        module.branch.load_state_dict(average.weights())
        save_adapter(module.branch, folder / "adapter-ema.safetensors", **told)


def _read_reference(
    config: Config, model: ReleasedModel, data: PreferenceDataModule, prior: StableCascadeUNet, ranks: Ranks
) -> None:
    """Put the stored errors of the reference into the batches; what is missing of them is made first."""
    with ranks.together():
        stored = StoredReference(config, model, data, prior.device)
        stored.require_fresh()
    with ranks.together():
        stored.make(lambda: prior, ranks.place)
    with ranks.together():
        data.use_reference(stored.read())


def _tell_finished(folder: Path) -> None:
    log.info("%s is finished; delete its .done to train it again", folder)


def _summary(folder: Path) -> dict[str, Any]:
    summary: dict[str, Any] = json.loads((folder / "summary.json").read_text())
    return summary


def build_module(
    config: Config, prior: StableCascadeUNet, data: PreferenceDataModule, world_size: int = 1
) -> PPDModule:
    """The module of a configuration, with a new branch drawn from its seed."""
    seed_everything(config.seed, verbose=False)
    branch = attach_user_branch(
        prior, data.embedding_dim, num_tokens=config.model.num_tokens, null=config.model.null_user
    )
    if config.trainer.gradient_checkpointing:
        prior.enable_gradient_checkpointing()
    if config.trainer.compile:
        prior.compile()
    times = (config.objective.t_min, config.objective.t_max)
    errors = None
    if config.objective.weighting == "adaptive":
        errors = reference_error_by_time(prior, _on(prior.device, data.first_batch()), *times, seed=config.seed)
    return PPDModule(
        prior,
        branch,
        config.objective,
        config.optimizer,
        TimeWeight(config.objective.weighting, CosineSchedule(), *times, errors),
        latent_shape=data.latent_shape,
        max_steps=config.trainer.max_steps,
        seed=config.seed,
        micro_batches=micro_batches(config.trainer, world_size),
    )


def _self_test(module: PPDModule, data: PreferenceDataModule) -> float:
    """A new branch must change nothing: its loss is ln 2, or the run stops before it wastes anybody's time."""
    batch = _on(module.device, {name: part[:16] for name, part in data.first_batch().items()})
    loss = module.step0_loss(batch)
    log.info(
        "step-0 self-test: loss %.6f (ln 2 = %.6f); C = %.1f, as Diffusion-DPO counts it beta = %.1f",
        loss,
        LN2,
        module.coefficient,
        2 * module.coefficient,
    )
    if not math.isclose(loss, LN2, abs_tol=1e-5):
        raise RuntimeError(f"step-0 self-test: a new user branch must give a loss of ln 2 = {LN2:.6f}, got {loss:.6f}")
    if "reference" in batch:
        noise = module.stored_logits(batch).square().mean().sqrt().item()
        log.info("step-0 self-test: reading the reference's errors back adds %.2g to a logit", noise)
        if noise > LARGEST_NOISE:
            raise UserError(
                f"trainer.reference: stored errors of the reference add {noise:.2g} to a logit here, more than "
                f"{LARGEST_NOISE}; use a smaller objective.beta, trainer.precision=fp32, or trainer.reference=computed"
            )
    return loss


def build_trainer(
    config: Config, folder: Path, start: int, loggers: list[Logger], here: Place = ALONE, *, validates: bool = False
) -> Trainer:
    """Lightning's trainer with the run's checkpoints and progress; `start` is the step it goes on from.

    With `validates`, each checkpoint comes with a validation.
    """
    logging.getLogger("lightning.pytorch").setLevel(logging.WARNING)  # its notices and tips say nothing about the run
    warnings.filterwarnings("ignore", ".*module\\(s\\) in eval mode.*")  # the prior is, on purpose
    warnings.filterwarnings("ignore", ".*`srun` command.*")  # it is told where it is
    warnings.filterwarnings("ignore", ".*lru_cache.*")  # of diffusers, where its checkpointing is compiled
    warnings.filterwarnings("ignore", ".*LeafSpec.*", category=FutureWarning)
    terminal = config.trainer.progress and sys.stderr.isatty() and here.is_first
    callbacks: list[Callback] = [
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
        logger=loggers,
        plugins=[AtomicCheckpointIO(), PlacedEnvironment(here)],
        use_distributed_sampler=False,  # the data module's stream knows rank and world size itself
        default_root_dir=folder,
    )


def _on(device: torch.device, batch: Batch) -> Batch:
    return {name: part.to(device) for name, part in batch.items()}


def _steps_done(checkpoint: Path) -> int:
    if not checkpoint.exists():
        return 0
    return int(torch.load(checkpoint, map_location="cpu", weights_only=True)["global_step"])


def _last_figures(folder: Path) -> dict[str, float]:
    """Means of the training figures over the last tenth of the logged steps, and the last validation figures."""
    path = folder / "metrics.csv"
    rows = read_metrics(path) if path.exists() else []
    figures: dict[str, float] = {}
    for part, count in (("train/", max(1, len(rows) // 10)), ("validation/", 1)):
        for name in dict.fromkeys(name for row in rows for name in row if name.startswith(part)):
            values = [float(row[name]) for row in rows if name in row][-count:]
            figures[name] = sum(values) / len(values)
    return figures
