"""The rows of a source that cannot be used: each with its place and the reason, and how many are too many."""

from __future__ import annotations

import logging
import posixpath
from collections import Counter
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from ppd_lightning.config.folders import data_folder
from ppd_lightning.config.schemas import Config, FolderData
from ppd_lightning.data import prepared as layout
from ppd_lightning.data.pickapic import UNUSABLE_SCHEMA
from ppd_lightning.errors import UserError
from ppd_lightning.storage.atomic import atomic_path

log = logging.getLogger(__name__)


def path(config: Config) -> Path:
    """The table of unusable rows."""
    return data_folder(config) / "quarantine.parquet"


def write(config: Config, unusable: pa.Table, rows: int) -> None:
    """Write the table of unusable rows, anew each time, and stop where they are too many.

    Args:
        unusable: of `pickapic.UNUSABLE_SCHEMA`; a row comes once for each reason. For data=folder the written table
            tells the line of one's own table as the row, without a row group.
        rows: how many the source has in all.

    Raises:
        UserError: they are more than the share `data.max_unusable`; the table is written all the same.
    """
    order = [(name, "ascending") for name in ("file", "row_group", "row", "reason")]
    unusable = _as_people_know_them(config, unusable.cast(UNUSABLE_SCHEMA)).sort_by(order)
    with atomic_path(path(config)) as temporary:
        pq.write_table(unusable, temporary)
    count = len(unusable.group_by(["file", "row_group", "row"]).aggregate([]))
    if not count:
        return
    reasons = Counter(unusable["reason"].to_pylist()).most_common()
    told = ", ".join(f"{reason.replace('_', ' ')} {number}" for reason, number in reasons)
    first = unusable.slice(0, 1).to_pylist()[0]
    place = (
        f"line {first['row']}"
        if first["row_group"] is None
        else f"row {first['row']} of row group {first['row_group']}"
    )
    example = f"the first is {place} of {first['file']}"
    if count > config.data.max_unusable * rows:
        raise UserError(
            f"{count} of {rows} rows cannot be used ({told}; {example}), more than data.max_unusable="
            f"{config.data.max_unusable:g} allows; look at {path(config)}, mend the source, or allow more"
        )
    log.warning("%d of %d rows cannot be used (%s; %s) and are listed in %s", count, rows, told, example, path(config))


def _as_people_know_them(config: Config, unusable: pa.Table) -> pa.Table:
    """The rows of `folder.make_source`'s file as lines of the table that it was made from."""
    if not isinstance(config.data, FolderData) or not len(unusable):
        return unusable
    (name,) = pc.unique(unusable["file"]).to_pylist()
    file = pq.ParquetFile(Path(layout.source_folder(config)) / name)
    begins = np.cumsum([0, *(file.metadata.row_group(group).num_rows for group in range(file.num_row_groups))])
    lines = file.read(["__index_level_0__"])["__index_level_0__"]
    rows = begins[unusable["row_group"].to_numpy()] + unusable["row"].to_numpy()
    count = len(unusable)
    columns = [pa.repeat(posixpath.basename(config.data.table), count), pa.nulls(count), lines.take(pa.array(rows))]
    return pa.table([*columns, unusable["reason"]], names=UNUSABLE_SCHEMA.names).cast(UNUSABLE_SCHEMA)
