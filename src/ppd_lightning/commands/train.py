"""`ppd train`: one training run in a folder that comes from its configuration."""

from __future__ import annotations

import json
import logging
import time
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from diffusers import StableCascadeUNet
from lightning.pytorch.callbacks import Callback

from ppd_lightning.backbones.adapter import base_fingerprint, save_adapter
from ppd_lightning.backbones.released import ReleasedModel, open_model
from ppd_lightning.config.compose import as_yaml
from ppd_lightning.config.folders import run_folder
from ppd_lightning.config.schemas import Config
from ppd_lightning.devices import DTYPES, compute_device
from ppd_lightning.distributed.group import Ranks, connected, require_fitting
from ppd_lightning.distributed.rank import place
from ppd_lightning.distributed.spawn import run_ranks
from ppd_lightning.generation.previews import preview_sheet
from ppd_lightning.storage.atomic import write_json_atomic, write_text_atomic
from ppd_lightning.training.build import build_module, step0_test
from ppd_lightning.training.checkpoints import last_checkpoint
from ppd_lightning.training.data_module import PreferenceDataModule
from ppd_lightning.training.ema import BranchAverage
from ppd_lightning.training.lightning_trainer import build_trainer, fit
from ppd_lightning.training.loggers import FAILED, FINISHED, end_loggers, log_final, make_loggers, require_loggers
from ppd_lightning.training.metrics_csv import read_metrics
from ppd_lightning.training.module import PPDModule
from ppd_lightning.training.previews import Previews
from ppd_lightning.training.stored_reference import StoredReference
from ppd_lightning.users.embeddings import users_fingerprint

log = logging.getLogger(__name__)


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
            model, device = open_model(config.model), compute_device(config.trainer)
            prior = model.load_prior(DTYPES[config.trainer.precision]).to(device)
        if config.trainer.reference == "stored" and config.objective.name != "sft":
            _read_reference(config, model, data, prior, ranks)
        with ranks.together():
            module = build_module(config, prior, data, ranks.place.size).to(device)
            average = None
            if config.optimizer.ema_decay is not None:
                average = BranchAverage(module.branch, config.optimizer.ema_decay)
            first: list[Callback] = [] if average is None else [average]
            if config.trainer.preview_every is not None:
                sheet = preview_sheet(config, model, prior, module.branch)
                first.append(Previews(sheet, folder / "previews", config.trainer.preview_every))
            validates = len(data.val_dataloader()) > 0
            trainer = build_trainer(config, folder, start, loggers, ranks.place, first, validates=validates)
            if ranks.place.is_first:
                write_text_atomic(folder / "config.yaml", as_yaml(config))
            step0_loss = step0_test(module, data)
        if start:
            log.info("going on at step %d of %d", start, config.trainer.max_steps)
        fit(trainer, module, data, checkpoint if start else None)
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
