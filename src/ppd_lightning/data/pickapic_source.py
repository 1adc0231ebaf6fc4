"""`data=pickapic`: parquet files in Pick-a-Pic v2's schema, images included, wherever fsspec reads."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field

from ppd_lightning.data.parquet_files import ParquetFiles
from ppd_lightning.data.source import PeopleSource, last_name
from ppd_lightning.errors import UserError
from ppd_lightning.markdown import code
from ppd_lightning.settings.part import Finding, settings
from ppd_lightning.settings.values import PathText


@settings
class PickapicSource(PeopleSource):
    """Parquet files in Pick-a-Pic v2's schema, images included."""

    name: Literal["pickapic"]
    """The source."""
    root: PathText
    """The folder that holds the parquet files, an fsspec URL of one (s3://, gs://), or OWNER/NAME on the model hub."""
    files: Annotated[str, Field(min_length=1)]
    """Which of its files are read, as a glob such as data/train-*.parquet."""

    def parquet(self, folder: Path) -> ParquetFiles:
        """The files themselves."""
        return ParquetFiles(self.root, self.files)

    def description(self) -> str:
        """See the base class."""
        return f"Parquet files in the schema of Pick-a-Pic v2, from a folder called {code(last_name(self.root))}."

    def hub_name(self) -> str | None:
        """See the base class."""
        from ppd_lightning.data.remote import HUB_NAME

        return self.root if HUB_NAME.fullmatch(self.root) and not Path(self.root).exists() else None

    def caption_count(self) -> int | None:
        """Those of files on this machine, of rows that cannot be used too."""
        from ppd_lightning.data.pickapic_rows import count_captions

        return count_captions(self.root, self.files)

    def findings(self) -> Iterator[Finding]:
        """The files."""
        from ppd_lightning.data.pickapic import source_files

        need = f"parquet files in {self.root}"
        try:
            yield Finding(need, f"{len(source_files(self.root, self.files)):,}")
        except UserError as error:
            yield Finding(need, "not readable", tuple(error.faults))
