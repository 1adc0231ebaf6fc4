"""Sources whose tables say something else than one choice a row: rankings, ratings, counts of votes.

A source of this kind names the columns and makes rankings of rows (`rankings.Ranking`); the pairs, the images, and
what is wrong with either are the same for all.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from ppd_lightning.data.parquet_files import ParquetFiles, SourceLines
from ppd_lightning.data.rankings import Ranking
from ppd_lightning.data.source import PeopleSource, last_name
from ppd_lightning.errors import UserError
from ppd_lightning.markdown import code
from ppd_lightning.settings.part import Finding, settings
from ppd_lightning.settings.values import PathText, Repository

if TYPE_CHECKING:
    from ppd_lightning.data.converted import Form
    from ppd_lightning.data.converted_rows import Faults, Rows


@settings
class ConvertedSource(PeopleSource):
    """A table of rankings, ratings or votes."""

    table: PathText
    """The file or folder, or its fsspec URL: CSV, JSON, parquet, a folder of parquet files."""
    images: PathText | None
    """The folder that the table's paths of images are relative to; null is the table's own."""
    roots: list[PathText]
    """Further folders below which images may lie, as those that links lead to."""
    columns: dict[str, str]
    """The table's names of columns, by the source's own, where it has others; a message about lacking ones has both."""

    origin: Repository | None
    """The data set on the model hub that the table is of, OWNER/NAME, for the model card; null says nothing of it."""

    NAMES: ClassVar[Mapping[str, tuple[str, ...]]]
    """The names by which each column is found."""
    FORMS: ClassVar[tuple[tuple[str, ...], ...]]
    """The columns that must be there together; those of one form suffice."""

    speed_keys: ClassVar[tuple[str, ...]] = (*PeopleSource.speed_keys, "roots", "origin")
    title: ClassVar[str]
    """What the table holds, for the model card."""

    @abstractmethod
    def rankings(self, rows: Rows, image: Callable[[Any], str], faults: Faults) -> Iterable[Ranking]:
        """What the table's rows say.

        Args:
            rows: each with its place, and its cells by the names of `NAMES`.
            image: gives the name of a cell's image, or raises a ValueError.
            faults: where to note what no ranking can be made of; more than `max_unusable` of them stop the command.
        """

    def make(self, folder: Path, output: Path) -> None:
        """Write the pairs with their images as parquet; see `converted.make_parquet`."""
        from ppd_lightning.data.converted import make_parquet

        make_parquet(self._form(), folder)

    def parquet(self, folder: Path) -> ParquetFiles:
        """What `make` writes."""
        return ParquetFiles(str(folder / "source"), "*.parquet")

    def lines(self, folder: Path) -> SourceLines:
        """The pairs, counted through the table."""
        from ppd_lightning.data.folder_files import faults_of_lines

        return SourceLines(f"the pairs of {last_name(self.table)}", faults=faults_of_lines(folder))

    def caption_count(self) -> int:
        """Those of the table."""
        from ppd_lightning.data.converted import read_pairs

        return len({choice.caption for choice in read_pairs(self._form())[1].choices})

    def findings(self) -> Iterator[Finding]:
        """The table."""
        from ppd_lightning.data.converted import read_pairs

        need = f"the pairs in {self.table}"
        try:
            yield Finding(need, f"{len(read_pairs(self._form())[1].choices):,}")
        except UserError as error:
            yield Finding(need, "not readable", tuple(error.faults))

    def hub_name(self) -> str | None:
        """See the base class."""
        return self.origin

    def description(self) -> str:
        """See the base class."""
        return f"{type(self).title}, from a table called {code(last_name(self.table))}."

    def _form(self) -> Form:
        from ppd_lightning.data.converted import Form

        return Form(
            self.table,
            self.images,
            self.roots,
            self.NAMES,
            self.FORMS,
            self.columns,
            self.rankings,
            self.max_unusable,
        )
