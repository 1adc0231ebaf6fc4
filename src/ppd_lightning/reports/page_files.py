"""A page as files: report.html, which is complete by itself, and beside it figures and tables.

report.html holds style, figures and images, and no scripts.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from ppd_lightning.figures.files import inline_svg, save_figure
from ppd_lightning.figures.style import DARK, LIGHT
from ppd_lightning.masking import for_sharing
from ppd_lightning.reports.blocks import (
    Drawing,
    Figures,
    Interval,
    Section,
    Table,
    all_blocks,
    as_csv,
    as_markdown,
    formatted,
)
from ppd_lightning.storage.atomic import write_json_atomic, write_text_atomic


@dataclass(frozen=True)
class Page:
    """A page's title, the line below it, its sections, and for programs the compared methods (`study.json`)."""

    title: str
    subtitle: str
    sections: list[Section]
    values: list[dict[str, Any]] = field(default_factory=list)

    @property
    def methods(self) -> list[str]:
        """The names of the methods that are compared."""
        return list(dict.fromkeys(method["name"] for study in self.values for method in study["methods"]))


def write_page(folder: Path, page: Page) -> Path:
    """Write report.html and figures/NAME.png, .pdf and .svg; of compared methods also study.json and tables.

    The tables are tables.md and tables/NAME.csv.

    Returns:
        report.html.
    """
    blocks = [block for section in page.sections for block in all_blocks(section.blocks)]
    drawings = [drawing for block in blocks if isinstance(block, Figures) for drawing in block.drawings]
    names = dict(zip(drawings, _distinct([_file_name(drawing.name) for drawing in drawings]), strict=True))
    for drawing, name in names.items():
        save_figure(drawing.figure, folder / "figures" / f"{name}.png")
    if page.values:
        tables = [block for block in blocks if isinstance(block, Table) and block.name]
        for table, name in zip(tables, _distinct([table.name for table in tables]), strict=True):
            write_text_atomic(folder / "tables" / f"{name}.csv", as_csv(table))
        write_text_atomic(folder / "tables.md", "\n".join(map(as_markdown, tables)))
        write_json_atomic(folder / "study.json", _shared(page.values))
    write_text_atomic(folder / "report.html", as_html(page, names))
    return folder / "report.html"


def as_html(page: Page, names: Mapping[Drawing, str]) -> str:
    """The page; sections without blocks are left out. names: one for each of its figures."""
    environment = Environment(
        loader=PackageLoader("ppd_lightning.reports"),
        autoescape=True,
        undefined=StrictUndefined,
        finalize=_readable,
        trim_blocks=True,
        lstrip_blocks=True,
    )

    def svg(drawing: Drawing) -> Markup:
        return inline_svg(drawing.figure, names[drawing], drawing.label)

    environment.filters |= {"formatted": formatted, "svg": svg}
    environment.tests["estimate"] = lambda cell: isinstance(cell, (int, float, Interval))
    return environment.get_template("page.html").render(
        title=page.title,
        subtitle=page.subtitle,
        sections=[section for section in page.sections if section.blocks],
        light=LIGHT,
        dark=DARK,
    )


def _shared(values: Any) -> Any:
    """Plain values whose texts are for whoever they are given to."""
    if isinstance(values, dict):
        return {key: _shared(value) for key, value in values.items()}
    if isinstance(values, list | tuple):
        return [_shared(value) for value in values]
    return for_sharing(values) if isinstance(values, str) else values


def _readable(value: Any) -> Any:
    """A text of the page for whoever it is given to; images and figures as they are."""
    is_text = isinstance(value, str) and not isinstance(value, Markup) and not value.startswith("data:image/")
    return for_sharing(value) if is_text else value


def _file_name(words: str) -> str:
    return re.sub(r"[^\w.-]+", "_", words).strip("_.").lower() or "figure"


def _distinct(names: Sequence[str]) -> list[str]:
    """The names, from the second of the same on with its number."""
    counts: dict[str, int] = {}
    found = []
    for name in names:
        counts[name] = counts.get(name, 0) + 1
        found.append(f"{name}-{counts[name]}" if counts[name] > 1 else name)
    return found
