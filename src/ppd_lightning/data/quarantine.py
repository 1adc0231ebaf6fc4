"""The rows of a source that cannot be used: each with its place and the reason, and how many are too many."""

from __future__ import annotations

import logging
from collections import Counter
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from ppd_lightning.data.parquet_files import ParquetFiles, SourceLines
from ppd_lightning.data.pickapic_rows import UNUSABLE_SCHEMA
from ppd_lightning.errors import UserError
from ppd_lightning.storage.atomic import atomic_path

log = logging.getLogger(__name__)


FILE = "quarantine.parquet"
"""The table's name in the data folder."""

NO_IMAGE, OF_IMAGES = "no_image", "damaged_image"
"""The reason of rows that lack an image, and the word by which images that cannot be used are counted."""


def write(
    folder: Path, unusable: pa.Table, rows: int, max_unusable: float, source: ParquetFiles, lines: SourceLines | None
) -> None:
    """Write the table of unusable rows, anew each time, and stop where they are too many.

    Args:
        folder: the data folder.
        unusable: of `pickapic_rows.UNUSABLE_SCHEMA`; a row comes once for each reason.
        rows: how many the source has in all.
        max_unusable: share of them that may be unusable.
        source, lines: see `as_lines`: the table names rows as those who wrote them do.

    Raises:
        UserError: they are more; the table is written all the same.
    """
    order = [(name, "ascending") for name in ("file", "row_group", "row", "reason")]
    words = [reason if " " not in reason else OF_IMAGES for reason in unusable["reason"].to_pylist()]
    unusable = as_lines(unusable.cast(UNUSABLE_SCHEMA), source, lines).sort_by(order)
    path = folder / FILE
    with atomic_path(path) as temporary:
        pq.write_table(unusable, temporary)
    count = len(unusable.group_by(["file", "row_group", "row"]).aggregate([]))
    if not count:
        return
    reasons = Counter(words).most_common()
    summary = ", ".join(f"{reason.replace('_', ' ')} {number}" for reason, number in reasons)
    first = unusable.slice(0, 1).to_pylist()[0]
    row = (
        f"line {first['row']}"
        if first["row_group"] is None
        else f"row {first['row']} of row group {first['row_group']}"
    )
    example = f"the first is {row} of {first['file']}" + (f": {first['reason']}" if " " in first["reason"] else "")
    if count > max_unusable * rows:
        raise UserError(
            f"{count} of {rows} rows cannot be used ({summary}; {example}), more than data.max_unusable="
            f"{max_unusable:g} allows; look at {path}, mend the source, or allow more"
        )
    log.warning("%d of %d rows cannot be used (%s; %s) and are listed in %s", count, rows, summary, example, path)


def as_lines(unusable: pa.Table, source: ParquetFiles, lines: SourceLines | None) -> pa.Table:
    """Rows of a source's file as lines of the table that it was made from, without a row group; unchanged for None.

    Of a line that lacks an image, the reason is what was wrong with that image, where it is known.
    """
    if lines is None or not len(unusable):
        return unusable
    (name,) = pc.unique(unusable["file"]).to_pylist()
    file = pq.ParquetFile(Path(source.root) / name)
    begins = np.cumsum([0, *(file.metadata.row_group(group).num_rows for group in range(file.num_row_groups))])
    numbers = file.read([lines.column])[lines.column]
    rows = begins[unusable["row_group"].to_numpy()] + unusable["row"].to_numpy()
    count = len(unusable)
    taken = numbers.take(pa.array(rows))
    columns = [pa.repeat(lines.name, count), pa.nulls(count), taken]
    found = zip(unusable["reason"].to_pylist(), taken.to_pylist(), strict=True)
    reasons = pa.array(
        [lines.faults.get(line, word) if word == NO_IMAGE else word for word, line in found], pa.string()
    )
    return pa.table([*columns, reasons], names=UNUSABLE_SCHEMA.names).cast(UNUSABLE_SCHEMA)
