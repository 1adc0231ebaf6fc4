"""`ppd verify`: every byte of the prepared data against the checksums that were written with them."""

from __future__ import annotations

import logging
import time
from typing import Any

from ppd_lightning.config.folders import data_folder
from ppd_lightning.config.root import Config
from ppd_lightning.data.shards import noted_shards
from ppd_lightning.data.stores import META, Store
from ppd_lightning.data.tables import verified
from ppd_lightning.errors import UserError

MADE_BY = {
    "users": "ppd embed",
    "profiles": "ppd embed",
    "asked": "ppd evaluate",
    "reward": "ppd label",
    "reference": "ppd reference",
}
"""The commands that make stores, by the first part of their folders' names; others are of `ppd prepare`."""

log = logging.getLogger(__name__)


def run(config: Config) -> dict[str, Any]:
    """Read all stores and tables of the data folder, those of every kind of labels and users too.

    A damaged part of a store is set aside, as NAME.damaged: the command that made it makes it again, and nothing else.

    Returns:
        the summary: how many stores, tables and bytes were read, and seconds.

    Raises:
        UserError: something is damaged, all of it named, or there is nothing.
    """
    begun, folder = time.monotonic(), data_folder(config)
    stores = sorted(path.parent for path in folder.rglob(META))
    found = sorted(path for path in folder.rglob("[!.]*.arrow") if path.parent not in stores)
    tables = [path for path in found if path.with_suffix(".json").exists()]
    units = sorted({path.parent for path in found} - {path.parent for path in tables})
    if not stores and not found:
        raise UserError(f"{folder}: nothing is prepared; run `ppd prepare` with the same settings")
    faults: list[str] = []
    for path in (*stores, *units, *tables):
        try:
            if path in units:  # a store that is not finished, or one that grows
                faults += [f"{fault}; {_again(path.name)}" for one in noted_shards(path) if (fault := one.damage(path))]
            elif path in stores:
                Store.open(path, None, made_by=_made_by(path.name)).verify()
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


def _again(store: str) -> str:
    return f"run `{_made_by(store)}` with the same settings"


def _made_by(store: str) -> str:
    """The command that makes a store, by the name of its folder."""
    return MADE_BY.get(store.partition("-")[0], "ppd prepare")
