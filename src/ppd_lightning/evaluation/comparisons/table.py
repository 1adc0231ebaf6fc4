"""comparisons.parquet: every comparison with its images and their scores, a row each, to compare methods by."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from ppd_lightning.evaluation.comparisons.selection import Comparison
from ppd_lightning.storage.atomic import atomic_path


class ComparisonsTable:
    """The table, column by column.

    Its columns are group, user, caption and seed; then for each kind of image, such as base and own, `{kind}_image`,
    the file relative to the output folder, and `{kind}/{name}` for each scorer, float64, or bool for the concept. A
    kind that only some comparisons have is null in the others. Where another person is asked, other is that person,
    other_image what is drawn for them, and `{kind}/other_taste` what they think of the image.
    """

    def __init__(self, comparisons: Sequence[Comparison], output: Path) -> None:
        self.comparisons, self.output = list(comparisons), output
        self._columns: dict[str, pa.Array] = {
            name: pa.array([getattr(one, name) for one in self.comparisons], kind)
            for name, kind in (
                ("group", pa.string()),
                ("user", pa.string()),
                ("caption", pa.string()),
                ("seed", pa.int64()),
            )
        }

    def add(self, kind: str, files: Sequence[Path], scores: Mapping[str, np.ndarray], rows: Sequence[int]) -> None:
        """Add the columns of a kind of image.

        Args:
            files, scores: one for each of `rows`.
            rows: of the comparisons that have such an image.
        """
        named = [Path(os.path.relpath(file, self.output)).as_posix() for file in files]
        self._columns[f"{kind}_image"] = self._spread(pa.array(named, pa.string()), rows)
        for name, values in scores.items():
            self._columns[f"{kind}/{name}"] = self._spread(pa.array(values), rows)

    def add_column(self, name: str, values: Sequence[Any], rows: Sequence[int]) -> None:
        """Add one column with a value for each of `rows`."""
        self._columns[name] = self._spread(pa.array(values), rows)

    def write(self, path: Path) -> None:
        """Write the table, whole or not at all."""
        with atomic_path(path) as unfinished:
            pq.write_table(pa.table(self._columns), unfinished)

    def _spread(self, values: pa.Array, rows: Sequence[int]) -> pa.Array:
        numbers = {row: number for number, row in enumerate(rows)}
        return values.take(pa.array([numbers.get(row) for row in range(len(self.comparisons))], pa.int64()))
