"""What `trainer.micro_batch_size=auto` comes to on this machine, found once for a run and kept in its folder."""

from __future__ import annotations

import logging
from dataclasses import replace
from pathlib import Path

from torch import nn

from ppd_lightning.config.workspace import Workspace
from ppd_lightning.distributed.group import Group
from ppd_lightning.distributed.rank import ALONE
from ppd_lightning.errors import UserError
from ppd_lightning.storage.json_files import read_checked_json, write_checked_json
from ppd_lightning.training.data_module import PreferenceDataModule
from ppd_lightning.training.memory_fit import Fit, GPUMemory, Memory, measured_fit
from ppd_lightning.training.settings import Trainer

log = logging.getLogger(__name__)

NAME = "micro_batch.json"
"""The file of a run that holds what was found, and for which machine."""


def fitted(
    workspace: Workspace,
    batches: PreferenceDataModule,
    network: nn.Module,
    *,
    group: Group | None = None,
    folder: Path | None = None,
    memory: Memory | None = None,
) -> Trainer:
    """The trainer's settings, with what fits in place of auto; `batches` are made of as many pairs.

    On a CPU, whose memory is not measured, auto is a device's whole share. Of several devices the one that has least
    decides. A run that goes on takes what it began with where the devices are the same.

    Args:
        batches: of the workspace's training, set up, without stored errors of the reference.
        network: on the device, without a branch.
        group: of the run's processes.
        folder: of the run, where what is found is kept.
        memory: of the device; None is its own.

    Raises:
        UserError, MachineError: the training lacks something, or not even one pair fits, on any rank.
    """
    group = group or Group(ALONE)
    config = workspace.config
    settings = config.trainer
    if settings.micro_batch_size != "auto":
        return settings
    if memory is None and workspace.device.type != "cuda":
        return replace(settings, micro_batch_size=None)
    memory = memory or GPUMemory(workspace.device)
    share = settings.batch_size // group.rank.size
    measured = {
        "devices": group.gather(memory.name),
        "share": share,
        "precision": settings.precision,
        "gradient_checkpointing": settings.gradient_checkpointing,
    }
    known = _known(folder, measured) if folder is not None and group.rank.is_first else None
    found = group.of_first(known)
    if found is None:
        with group.together():
            own = measured_fit(
                workspace.backbone,
                network,
                batches,
                config.objective,
                config.optimizer,
                memory,
                share=share,
                checkpointing=settings.gradient_checkpointing,
                text=workspace.caption_states,
            )
        all_found = group.gather(own)
        found = Fit(min(one.pairs for one in all_found), any(one.checkpointing for one in all_found))
        if folder is not None and group.rank.is_first:
            write_checked_json(folder / NAME, found.numbers() | {"measured": measured})
    batches.micro_batch_size = found.pairs
    return replace(settings, micro_batch_size=found.pairs, gradient_checkpointing=found.checkpointing)


def _known(folder: Path, measured: dict[str, object]) -> Fit | None:
    """What the run's folder holds, if it was found on such devices."""
    if not (folder / NAME).exists():
        return None
    try:
        kept = read_checked_json(folder / NAME, "it is measured again")
    except UserError as error:
        log.warning("%s", error)
        return None
    if kept.get("measured") != measured:
        return None
    log.info("trainer.micro_batch_size: %d pairs at once, as this run began", kept["pairs"])
    return Fit(kept["pairs"], kept["checkpointing"])
