"""`ppd train`: one training run in a folder that follows from its configuration."""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping
from contextlib import nullcontext
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch.callbacks import Callback
from torch import nn

from ppd_lightning.commands.fitted import fitted
from ppd_lightning.commands.preferences import NAME, after_training
from ppd_lightning.commands.reference import open_batches, open_stored
from ppd_lightning.commands.run_files import facts, save_branch
from ppd_lightning.config.compose import as_yaml
from ppd_lightning.config.root import Config
from ppd_lightning.config.stored import stored_values
from ppd_lightning.config.workspace import Workspace
from ppd_lightning.devices import DTYPES
from ppd_lightning.distributed.group import Group, connected, require_fitting
from ppd_lightning.distributed.rank import current_rank
from ppd_lightning.distributed.spawn import run_ranks
from ppd_lightning.generation.previews import preview_sheet
from ppd_lightning.storage.atomic import write_json_atomic, write_text_atomic
from ppd_lightning.storage.finished_run import AGAIN, LEASE, is_finished, is_whole, mark_finished, result_faults
from ppd_lightning.storage.json_files import read_json
from ppd_lightning.storage.leases import Lease
from ppd_lightning.training.build import build_module, step0_test
from ppd_lightning.training.checkpoints import sound_checkpoint, step_of
from ppd_lightning.training.data_module import PreferenceDataModule
from ppd_lightning.training.ema import BranchAverage
from ppd_lightning.training.lightning_trainer import build_trainer, fit
from ppd_lightning.training.logged_rows import read_metrics
from ppd_lightning.training.loggers import FAILED, FINISHED, end_loggers, log_final, make_loggers, require_loggers
from ppd_lightning.training.previews import Previews
from ppd_lightning.training.stopping import noted_when_stopped

log = logging.getLogger(__name__)

COMPARED = ("seed", "mode", "data", "model", "user", "shots", "objective", "optimizer", "trainer")
"""The settings that are logged beside a run's final figures."""


def run(config: Config) -> dict[str, Any]:
    """Train, resume a training that was interrupted, or read the summary of a finished one.

    With several devices each has a process of its own (a rank): they are started here, unless this process is one.

    Returns:
        the summary that is also in the run folder.

    Raises:
        UserError: a store or the model is missing or stale, a logger's package is missing, or the processes that were
            started do not fit the configuration or have different ones.
    """
    workspace = Workspace(config)
    _ensure_trained(workspace)
    summary = _summary(workspace.run)
    if config.trainer.preference_accuracy and NAME not in summary and current_rank().is_first:
        rates = after_training(workspace)
        if rates:
            summary |= {NAME: rates}
            write_json_atomic(workspace.run / "summary.json", summary)
            mark_finished(workspace.run)
    return summary


def _ensure_trained(workspace: Workspace) -> None:
    """Train, in as many processes as are asked for, unless that is done; after another command that is at it."""
    folder, rank = workspace.run, current_rank()
    alone = rank.size == 1
    to_do = alone and not is_whole(folder)  # nothing is written to a finished one, which may be read-only
    if to_do or not alone:
        require_loggers(workspace.config.logger)
    with Lease(folder / LEASE) if to_do else nullcontext(), noted_when_stopped(folder, first=rank.is_first):
        if alone and _is_whole(folder):
            _log_finished(folder)
        else:
            _train_or_start_ranks(workspace)


def _train_or_start_ranks(workspace: Workspace) -> None:
    config, folder = workspace.config, workspace.run
    rank, trainer = current_rank(), config.trainer
    require_fitting(rank, nodes=trainer.nodes, devices=trainer.devices)
    if rank.size < trainer.devices:
        write_text_atomic(folder / "config.yaml", as_yaml(config))
        arguments = [str(folder / "config.yaml")]
        run_ranks("ppd_lightning.commands.rank", arguments, trainer.devices, trainer.threads)
        return
    with connected(
        rank,
        nodes=trainer.nodes,
        devices=trainer.devices,
        threads=trainer.threads,
        accelerator=trainer.accelerator,
    ) as group:
        group.require_same(_flat(asdict(config)))
        with group.together():
            whole = rank.is_first and _is_whole(folder)
        if group.of_first(whole):
            _log_finished(folder)
        else:
            _train(workspace, group)
            group.barrier()


def _train(workspace: Workspace, group: Group) -> None:
    """One rank's part of the training."""
    begun = time.monotonic()
    config, folder, backbone = workspace.config, workspace.run, workspace.backbone
    objective, optimizer, settings = config.objective, config.optimizer, config.trainer
    if settings.threads is not None:
        torch.set_num_threads(settings.threads)
    lease = Lease(folder / LEASE)
    held = group.rank.is_first and lease.acquire()  # of ranks that nobody of ours started, for `ppd runs`
    with group.together():
        checkpoint = sound_checkpoint(folder) if group.rank.is_first else None
    checkpoint = group.of_first(checkpoint)
    start = 0 if checkpoint is None else step_of(checkpoint)
    loggers = make_loggers(config.logger, folder, workspace.output, start=start, rank=group.rank)
    outcome = FAILED
    try:
        with group.together():
            batches = open_batches(workspace)
            batches.start_step = start
            batches.setup("fit")
            network = backbone.load_network(DTYPES[settings.precision]).to(workspace.device)
        settings = fitted(workspace, batches, network, group=group, folder=folder)
        if settings.reference == "stored" and objective.needs_reference:
            _read_reference(workspace, batches, network, group)
        with group.together():
            module = build_module(
                backbone,
                network,
                batches,
                objective,
                optimizer,
                settings,
                seed=config.seed,
                world_size=group.rank.size,
                text=workspace.caption_states,
            ).to(workspace.device)
            average = None if optimizer.ema_decay is None else BranchAverage(module.branch, optimizer.ema_decay)
            first: list[Callback] = [] if average is None else [average]
            if settings.preview_every is not None:
                sheet = preview_sheet(
                    backbone,
                    network,
                    module.branch,
                    workspace.data,
                    workspace.users,
                    config.generation,
                    workspace.described,
                )
                first.append(Previews(sheet, folder / "previews", settings.preview_every))
            trainer = build_trainer(
                settings,
                folder,
                start=start,
                loggers=loggers,
                rank=group.rank,
                first=first,
                grad_clip=optimizer.grad_clip,
                csv=config.logger.csv,
                validates=len(batches.val_dataloader()) > 0,
            )
            if group.rank.is_first:
                write_text_atomic(folder / "config.yaml", as_yaml(replace(config, trainer=settings)))
            step0_loss = step0_test(module, batches)
        if start:
            log.info("resuming at step %d of %d", start, settings.max_steps)
        fit(trainer, module, batches, checkpoint)
        if group.rank.is_first:
            summary: dict[str, Any] = {
                "run": str(folder),
                "step0_loss": step0_loss,
                **facts(module, settings.max_steps, settings.batch_size),
                **_last_figures(folder),
            }
            if settings.skip_nonfinite:
                summary["skipped_steps"] = module.skipped_steps
            save_branch(workspace, folder, module, average)
            figures = {name: value for name, value in summary.items() if "/" in name}
            log_final(loggers, _compared(config), figures, settings.max_steps)
            write_json_atomic(folder / "summary.json", summary | {"seconds": round(time.monotonic() - begun, 1)})
        outcome = FINISHED
    finally:
        end_loggers(loggers, outcome)
        if held:
            lease.release()
    if group.rank.is_first:
        mark_finished(folder)


def _read_reference(workspace: Workspace, batches: PreferenceDataModule, network: nn.Module, group: Group) -> None:
    """Put the stored errors of the reference into the batches; what is missing of them is made first."""
    with group.together():
        stored = open_stored(workspace, batches)
        stored.require_fresh()
    with group.together():
        stored.make(lambda: network, group.rank)
    with group.together():
        batches.use_reference(stored.read())


def _compared(config: Config) -> dict[str, Any]:
    """What makes one run another, by dotted key."""
    return _flat({name: value for name, value in stored_values(config).items() if name in COMPARED})


def _flat(values: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested values by dotted key."""
    flat: dict[str, Any] = {}
    for name, value in values.items():
        flat |= _flat(value, f"{prefix}{name}.") if isinstance(value, dict) else {f"{prefix}{name}": value}
    return flat


def _is_whole(folder: Path) -> bool:
    """Whether there is nothing to do; where a finished result is damaged it is written anew, and the log says why."""
    faults = result_faults(folder)
    for fault in faults:
        log.warning("%s; the training goes on from its last checkpoint and writes its result again", fault)
    return not faults and is_finished(folder)


def _log_finished(folder: Path) -> None:
    log.info("%s is finished; delete this folder to train it again", folder)


def _summary(folder: Path) -> dict[str, Any]:
    summary = read_json(folder / "summary.json", AGAIN)
    return summary | {"run": str(folder)}


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
