"""Where a source's parquet files are, and how those who wrote their rows call them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

FILES = "**/*.parquet"
"""The files of a source, where nothing narrows them down."""


@dataclass(frozen=True)
class ParquetFiles:
    """Files in Pick-a-Pic v2's schema.

    root: a folder, an fsspec URL, or OWNER/NAME on the model hub. files: which files below it, as a glob.
    """

    root: str
    files: str = FILES


@dataclass(frozen=True)
class SourceLines:
    """The table that a source was made from.

    name: of the table. column: of the parquet files, that holds the line in the table. faults: what is wrong with
    lines, as far as it is known.
    """

    name: str
    column: str = "__index_level_0__"
    faults: Mapping[int, str] = field(default_factory=dict)
