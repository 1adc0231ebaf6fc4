"""What pages are made of: sections of text, commands, tables, figures and images; no HTML yet."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import ClassVar

from matplotlib.figure import Figure

from ppd_lightning.evaluation.statistics.intervals import NONE
from ppd_lightning.markdown import words
from ppd_lightning.masking import for_sharing


@dataclass(frozen=True)
class Interval:
    """An estimate with the ends of its 95 % interval, NaN where there is none, of n comparisons."""

    value: float
    low: float
    high: float
    n: int | None = None


Cell = str | float | Interval | None


@dataclass(frozen=True)
class Text:
    """A paragraph. kind: `headline`, `note`, `warning`, or `command` for command lines."""

    text: str
    kind: str = ""
    template: ClassVar[str] = "text"


@dataclass(frozen=True)
class Table:
    """Rows of cells under a head; `marked` rows are highlighted. name: of its files, if it is to have some."""

    title: str
    head: Sequence[str]
    rows: Sequence[Sequence[Cell]]
    note: str = ""
    name: str = ""
    marked: frozenset[int] = frozenset()
    template: ClassVar[str] = "table"


@dataclass(frozen=True, eq=False)
class Drawing:
    """A figure. name: of its files; label: what a screen reader says."""

    name: str
    label: str
    figure: Figure


@dataclass(frozen=True)
class Figures:
    """Figures beside each other."""

    title: str
    drawings: Sequence[Drawing]
    note: str = ""
    template: ClassVar[str] = "figures"


@dataclass(frozen=True)
class ImageTable:
    """Images as data URLs, rows under a head of columns; a cell is an image (or None) and words below it."""

    title: str
    columns: Sequence[str]
    rows: Sequence[tuple[str, Sequence[tuple[str | None, str]]]]
    note: str = ""
    template: ClassVar[str] = "images"


@dataclass(frozen=True)
class LargeImage:
    """One image over the width of the page, as a data URL."""

    title: str
    url: str
    note: str = ""
    template: ClassVar[str] = "large_image"


@dataclass(frozen=True)
class Folded:
    """Blocks that a click opens."""

    title: str
    blocks: Sequence[Block]
    template: ClassVar[str] = "folded"


Block = Text | Table | Figures | ImageTable | LargeImage | Folded


@dataclass(frozen=True)
class Section:
    """Blocks under a title; one without blocks is left out of the page."""

    title: str
    blocks: list[Block] = field(default_factory=list)


def formatted(cell: Cell) -> str:
    """A cell for reading: about four digits, an interval in brackets."""
    if cell is None:
        return ""
    if isinstance(cell, Interval):
        numbers = (cell.value, cell.low, cell.high)
        value, low, high = (f"{number:.3f}" if abs(cell.value) < 10 else rounded(number) for number in numbers)
        return f"{value} ({NONE})" if math.isnan(cell.low) else f"{value} ({low} to {high})"
    return cell if isinstance(cell, str) else rounded(cell)


def rounded(number: float) -> str:
    """A number with as many digits as its size needs."""
    if not math.isfinite(number):
        return "-"
    if isinstance(number, int) or (float(number).is_integer() and abs(number) >= 10):
        return f"{number:,.0f}"
    return f"{number:.3f}" if 0.0995 <= abs(number) < 10 or number == 0 else f"{number:.4g}"


def all_blocks(blocks: Sequence[Block]) -> Iterator[Block]:
    """The blocks, and those that are folded away."""
    for block in blocks:
        yield block
        if isinstance(block, Folded):
            yield from all_blocks(block.blocks)


def as_markdown(table: Table) -> str:
    """The table for a README."""
    lines = [f"**{words(table.title)}**", "", _line(map(words, table.head)), _line(["---"] * len(table.head))]
    lines += [_line(words(cell) if isinstance(cell, str) else formatted(cell) for cell in row) for row in table.rows]
    if table.note:
        lines += ["", words(table.note)]
    return "\n".join(lines) + "\n"


def as_csv(table: Table) -> str:
    """The table for programs: numbers in full, an interval in four columns."""
    estimated = [any(isinstance(row[column], Interval) for row in table.rows) for column in range(len(table.head))]
    parts = ("", " low", " high", " n")
    head = [
        f"{name}{part}"
        for name, several in zip(map(for_sharing, table.head), estimated, strict=True)
        for part in (parts if several else [""])
    ]
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(head)
    for row in table.rows:
        values: list[str | float] = []
        for cell, several in zip(row, estimated, strict=True):
            if isinstance(cell, Interval):
                ends = ["" if math.isnan(end) else end for end in (cell.low, cell.high)]
                values += [cell.value, *ends, "" if cell.n is None else cell.n]
            else:
                values += [
                    "" if cell is None else for_sharing(cell) if isinstance(cell, str) else cell,
                    *([""] * 3 if several else []),
                ]
        writer.writerow(values)
    return text.getvalue()


def _line(cells: Iterable[str]) -> str:
    return f"| {' | '.join(cells)} |"
