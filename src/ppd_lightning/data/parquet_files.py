"""Where a source's parquet files are, and how those who wrote their rows call them."""

from __future__ import annotations

from dataclasses import dataclass

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

    name: of the table. column: of the parquet files, that holds the line in the table.
    """

    name: str
    column: str = "__index_level_0__"
