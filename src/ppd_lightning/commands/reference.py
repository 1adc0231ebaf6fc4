"""`ppd reference`: the reference's errors that a training with trainer.reference=stored reads, made beforehand."""

from __future__ import annotations

import logging
import time
from typing import Any

from ppd_lightning.backbones.released import open_model
from ppd_lightning.config.schemas import Config
from ppd_lightning.devices import DTYPES, compute_device
from ppd_lightning.distributed.rank import ALONE
from ppd_lightning.training.data_module import PreferenceDataModule
from ppd_lightning.training.stored_reference import StoredReference

log = logging.getLogger(__name__)


def run(config: Config) -> dict[str, Any]:
    """Make what is missing of the errors that a run of this configuration needs; those that are stale are made anew.

    Any number of processes may do so at once: they share the work.

    Returns:
        the summary: folder, pairs (with how many were computed here) and seconds.

    Raises:
        UserError: the data are not prepared or embedded, or the model is missing.
    """
    begun = time.monotonic()
    model, device, data = open_model(config.model), compute_device(config.trainer), PreferenceDataModule(config)
    data.setup("fit")
    stored = StoredReference(config, model, data, device)
    computed = stored.make(lambda: model.load_prior(DTYPES[config.trainer.precision]).to(device), ALONE)
    stored.read()
    seconds = round(time.monotonic() - begun, 1)
    log.info(
        "%s: errors of %d pairs, %d of them computed now, in %.1f s", stored.folder, stored.places, computed, seconds
    )
    return {"folder": str(stored.folder), "pairs": stored.places, "computed": computed, "seconds": seconds}
