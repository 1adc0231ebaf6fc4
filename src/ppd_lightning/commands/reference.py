"""`ppd reference`: the reference's errors that a training with trainer.reference=stored reads, made beforehand."""

from __future__ import annotations

import logging
import time
from typing import Any

from torch import nn

from ppd_lightning.commands.fitted import fitted
from ppd_lightning.config.root import Config
from ppd_lightning.config.workspace import Workspace
from ppd_lightning.devices import DTYPES
from ppd_lightning.training.data_module import PreferenceDataModule
from ppd_lightning.training.pair_draws import PairDraws
from ppd_lightning.training.stored_reference import StoredReference

log = logging.getLogger(__name__)

AHEAD = 1
"""Processes that make batches beside a GPU, where data.workers allows one: it makes thousands of pairs a second."""


def run(config: Config) -> dict[str, Any]:
    """Make what is missing of the errors that a run of this configuration needs; those that are stale are made anew.

    Any number of processes may do so at once: they share the work.

    Returns:
        the summary: folder, pairs (with how many were computed here) and seconds.

    Raises:
        UserError: the data are not prepared or embedded, or the model is missing.
    """
    begun, workspace = time.monotonic(), Workspace(config)
    batches = open_batches(workspace)
    batches.setup("fit")
    stored = open_stored(workspace, batches)

    def load() -> nn.Module:
        network = workspace.backbone.load_network(DTYPES[config.trainer.precision]).to(workspace.device)
        fitted(workspace, batches, network)
        return network

    computed = stored.make(load)
    stored.read()
    seconds = round(time.monotonic() - begun, 1)
    log.info(
        "%s: errors of %d pairs, %d of them computed now, in %.1f s", stored.folder, stored.length, computed, seconds
    )
    return {"folder": str(stored.folder), "pairs": stored.length, "computed": computed, "seconds": seconds}


def open_batches(workspace: Workspace) -> PreferenceDataModule:
    """The batches of a training, not set up yet; what fits a GPU is not known yet (see `fitted`).

    Raises:
        UserError: the data are not prepared or embedded.
    """
    config = workspace.config
    batches = PreferenceDataModule(
        workspace.data,
        workspace.users.rows(),
        text_arrays=workspace.backbone.text_arrays,
        batch_size=config.trainer.batch_size,
        micro_batch_size=None if config.trainer.micro_batch_size == "auto" else config.trainer.micro_batch_size,
        seed=config.seed,
        draws=PairDraws(config.objective, config.seed, workspace.backbone.null_user == "learned"),
    )
    if workspace.device.type == "cuda":
        batches.workers = min(AHEAD, workspace.source.workers)
    return batches


def open_stored(workspace: Workspace, batches: PreferenceDataModule) -> StoredReference:
    """The stored errors of the reference for a training on these batches.

    Raises:
        UserError: files of the model are missing.
    """
    config = workspace.config
    return StoredReference(
        workspace.data.splits,
        workspace.data,
        batches,
        workspace.backbone,
        config.objective,
        precision=config.trainer.precision,
        seed=config.seed,
        steps=config.trainer.max_steps,
        device=workspace.device,
        progress=workspace.progress,
        text=lambda: workspace.caption_states,
    )
