"""`ppd verify`: every byte of the prepared data against the checksums that were written with them."""

from __future__ import annotations

import logging
import time
from typing import Any

from ppd_lightning.config.folders import data_folder
from ppd_lightning.config.root import Config
from ppd_lightning.data.stores import META, Store
from ppd_lightning.data.tables import verified
from ppd_lightning.errors import UserError

log = logging.getLogger(__name__)


def run(config: Config) -> dict[str, Any]:
    """Read all stores and tables of the data folder, those of every kind of labels and users too.

    What is named can be deleted: the command that made it makes that part again, and nothing else.

    Returns:
        the summary: how many stores, tables and bytes were read, and seconds.

    Raises:
        UserError: something is damaged, all of it named, or there is nothing.
    """
    begun, folder = time.monotonic(), data_folder(config)
    stores = sorted(path.parent for path in folder.rglob(META))
    tables = sorted(path for path in folder.rglob("[!.]*.arrow") if path.parent not in stores)
    if not stores and not tables:
        raise UserError(f"{folder}: nothing is prepared; run `ppd prepare` with the same settings")
    faults: list[str] = []
    for path in (*stores, *tables):
        try:
            if path in stores:
                Store.open(path, None).verify()
            else:
                verified(path)
        except UserError as error:
            faults += error.faults
    if faults:
        raise UserError(faults)
    size = sum(path.stat().st_size for path in folder.rglob("*.arrow"))
    summary = {"folder": str(folder), "stores": len(stores), "tables": len(tables), "bytes": size}
    summary["seconds"] = round(time.monotonic() - begun, 1)
    log.info("%d stores and %d tables of %s are whole (%.1f MB)", len(stores), len(tables), folder, size / 1e6)
    return summary
