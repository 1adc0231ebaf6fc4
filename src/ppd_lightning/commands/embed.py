"""`ppd embed`: who the users are, as vectors."""

from __future__ import annotations

import logging
import time
from typing import Any

from ppd_lightning.config.root import Config
from ppd_lightning.config.workspace import Workspace

log = logging.getLogger(__name__)


def run(config: Config) -> dict[str, Any]:
    """Describe every user of the pairs; a store that is there already and still right is kept.

    Returns:
        the summary: users, rows, width and seconds.

    Raises:
        UserError: the data are not prepared, or people have too few choices.
    """
    begun, users = time.monotonic(), Workspace(config).users
    if not users.is_finished():
        users.describe()
    rows = users.rows()
    named, (count, width) = len(set(rows.users)), rows.embeddings.shape
    summary: dict[str, Any] = {"kind": users.kind.kind, "users": named, "rows": count, "width": width}
    summary["seconds"] = round(time.monotonic() - begun, 1)
    if users.folder.exists():  # the kinds that follow from who the users are have none
        summary["folder"] = str(users.folder)
    log.info("%d users in %d embeddings of width %d", named, count, width)
    return summary
