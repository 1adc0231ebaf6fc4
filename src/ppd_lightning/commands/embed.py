"""`ppd embed`: who the users are, as vectors."""

from __future__ import annotations

import logging
import time
from typing import Any

from ppd_lightning.backbones.released import ReleasedModel, open_model
from ppd_lightning.config.schemas import Config
from ppd_lightning.data.stores import Store
from ppd_lightning.errors import UserError
from ppd_lightning.users.embeddings import describe_users, embeddings_folder, embeddings_key, open_user_rows
from ppd_lightning.users.kinds import is_described

log = logging.getLogger(__name__)


def run(config: Config) -> dict[str, Any]:
    """Describe every user of the pairs; a store that is there already and still right is kept.

    Returns:
        the summary: users, rows, width and seconds.

    Raises:
        UserError: the data are not prepared, or people have too few choices.
    """
    begun = time.monotonic()
    model = open_model(config.model)
    if is_described(config) and not _finished(config, model):
        describe_users(config, model)
    rows = open_user_rows(config, model)
    users, (count, width) = len(set(rows.users)), rows.embeddings.shape
    summary = {"kind": config.user.kind, "users": users, "rows": count, "width": width}
    summary["seconds"] = round(time.monotonic() - begun, 1)
    log.info("%d users in %d embeddings of width %d", users, count, width)
    return summary


def _finished(config: Config, model: ReleasedModel) -> bool:
    try:
        Store.open(embeddings_folder(config), embeddings_key(config, model))
    except UserError:
        return False
    return True
