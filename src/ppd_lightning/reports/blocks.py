"""What pages are made of: sections of words, commands, tables, plots and pictures; no HTML yet."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import ClassVar

from markupsafe import Markup


@dataclass(frozen=True)
class Interval:
    """A figure with the ends of its 95 % interval, of n comparisons."""

    value: float
    low: float
    high: float
    n: int | None = None

    @property
    def ends(self) -> tuple[float, float, float]:
        """The figure, then its interval."""
        return self.value, self.low, self.high


Cell = str | float | Interval | None


@dataclass(frozen=True)
class Words:
    """A paragraph. kind: `note` is fainter, `warning` is not to be overlooked."""

    text: str
    kind: str = ""
    template: ClassVar[str] = "words"


@dataclass(frozen=True)
class Commands:
    """Command lines."""

    lines: Sequence[str]
    template: ClassVar[str] = "commands"


@dataclass(frozen=True)
class Table:
    """Rows of cells under a head; `marked` rows stand out. name: what its files are called, if it is to have some."""

    title: str
    head: Sequence[str]
    rows: Sequence[Sequence[Cell]]
    note: str = ""
    name: str = ""
    marked: frozenset[int] = frozenset()
    template: ClassVar[str] = "table"


@dataclass(frozen=True)
class Plots:
    """SVG pictures beside each other."""

    title: str
    pictures: Sequence[Markup]
    note: str = ""
    template: ClassVar[str] = "plots"


@dataclass(frozen=True)
class Pictures:
    """Pictures as data URLs, rows under a head of columns; a cell is a picture (or None) and words below it."""

    title: str
    columns: Sequence[str]
    rows: Sequence[tuple[str, Sequence[tuple[str | None, str]]]]
    note: str = ""
    template: ClassVar[str] = "pictures"


@dataclass(frozen=True)
class Sheet:
    """One large picture."""

    title: str
    picture: str
    note: str = ""
    template: ClassVar[str] = "sheet"


@dataclass(frozen=True)
class More:
    """Blocks that are folded away until somebody asks for them."""

    title: str
    blocks: Sequence[Block]
    template: ClassVar[str] = "more"


Block = Words | Commands | Table | Plots | Pictures | Sheet | More


@dataclass(frozen=True)
class Section:
    """Blocks under a title; one without blocks is not shown."""

    title: str
    blocks: list[Block] = field(default_factory=list)


def shown(cell: Cell) -> str:
    """A cell as people read it: four digits, an interval in brackets."""
    if cell is None:
        return ""
    if isinstance(cell, Interval):
        value, low, high = (f"{number:.3f}" if abs(cell.value) < 10 else rounded(number) for number in cell.ends)
        return f"{value} ({low} to {high})"
    return cell if isinstance(cell, str) else rounded(cell)


def rounded(number: float) -> str:
    """A number with as many digits as it takes to tell figures of its size apart."""
    if not math.isfinite(number):
        return "-"
    if isinstance(number, int) or (float(number).is_integer() and abs(number) >= 10):
        return f"{number:,.0f}"
    return f"{number:.3f}" if 0.0995 <= abs(number) < 10 or number == 0 else f"{number:.4g}"


def tables_of(blocks: Sequence[Block]) -> Iterator[Table]:
    """The tables that are to have files, also those that are folded away."""
    for block in blocks:
        if isinstance(block, More):
            yield from tables_of(block.blocks)
        elif isinstance(block, Table) and block.name:
            yield block


def as_markdown(table: Table) -> str:
    """The table as a README takes it."""
    lines = [f"**{table.title}**", "", _line(table.head), _line(["---"] * len(table.head))]
    lines += [_line([shown(cell) for cell in row]) for row in table.rows]
    if table.note:
        lines += ["", table.note]
    return "\n".join(lines) + "\n"


def as_csv(table: Table) -> str:
    """The table for programs: numbers in full, an interval in four columns."""
    estimated = [any(isinstance(row[place], Interval) for row in table.rows) for place in range(len(table.head))]
    parts = ("", " low", " high", " n")
    head = [
        f"{name}{part}"
        for name, several in zip(table.head, estimated, strict=True)
        for part in (parts if several else [""])
    ]
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(head)
    for row in table.rows:
        values: list[str | float] = []
        for cell, several in zip(row, estimated, strict=True):
            if isinstance(cell, Interval):
                values += [cell.value, cell.low, cell.high, "" if cell.n is None else cell.n]
            else:
                values += ["" if cell is None else cell, *([""] * 3 if several else [])]
        writer.writerow(values)
    return text.getvalue()


def _line(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cell.replace('|', '/') for cell in cells)} |"
