"""`data=folder`: one's own pairs, a table beside images."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import ClassVar, Literal

from ppd_lightning.data.parquet_files import ParquetFiles, SourceLines
from ppd_lightning.data.source import PeopleSource, last_name
from ppd_lightning.errors import UserError
from ppd_lightning.markdown import code
from ppd_lightning.settings.part import Finding, settings
from ppd_lightning.settings.values import PathText


@settings
class FolderSource(PeopleSource):
    """One's own pairs: a table beside images."""

    name: Literal["folder"]
    """The source."""
    table: PathText
    """A CSV, JSONL or parquet file (or its fsspec URL) with the columns caption, image_0, image_1, choice and user; a
    parquet file may hold the images. Or shards of WebDataset, a folder that Hugging Face datasets saved, parquet
    files."""
    columns: dict[str, str]
    """The table's names of columns, by the names above, where it has others; prompt, chosen, rejected and user_id are
    known."""
    roots: list[PathText]
    """Folders below which its images may lie, beside the table's own; links are followed first. What lies elsewhere is
    not read."""

    speed_keys: ClassVar[tuple[str, ...]] = (*PeopleSource.speed_keys, "roots")

    def make(self, folder: Path, output: Path) -> None:
        """Write the table with its images as parquet; see `folder_files.make_parquet`."""
        from ppd_lightning.data.folder_files import make_parquet

        make_parquet(self.table, folder, self.max_unusable, self.columns, self.roots)

    def parquet(self, folder: Path) -> ParquetFiles:
        """What `make` writes."""
        return ParquetFiles(str(folder / "source"), "*.parquet")

    def description(self) -> str:
        """See the base class."""
        return f"Choices between images from a table called {code(last_name(self.table))}."

    def lines(self, folder: Path) -> SourceLines:
        """The lines of the table."""
        from ppd_lightning.data.folder_files import faults_of_lines

        return SourceLines(last_name(self.table), faults=faults_of_lines(folder))

    def caption_count(self) -> int:
        """Those of the table."""
        from ppd_lightning.data.folder_files import read_own

        return len(
            {choice.caption for choice in read_own(self.table, self.max_unusable, self.columns, self.roots).choices}
        )

    def findings(self) -> Iterator[Finding]:
        """The table."""
        from ppd_lightning.data.folder_files import read_own

        need = f"the pairs in {self.table}"
        try:
            read = read_own(self.table, self.max_unusable, self.columns, self.roots)
            yield Finding(need, f"{len(read.choices):,} rows")
        except UserError as error:
            yield Finding(need, "not readable", tuple(error.faults))
