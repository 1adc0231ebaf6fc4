"""Sections as one HTML file that needs nothing beside it: style, plots and pictures are in it; there are no scripts."""

from __future__ import annotations

from collections.abc import Sequence

from jinja2 import Environment, PackageLoader, StrictUndefined

from ppd_lightning.reports.blocks import Cell, Interval, Section, shown


def page(title: str, subtitle: str, sections: Sequence[Section]) -> str:
    """The page; sections without blocks are left out."""
    environment = Environment(
        loader=PackageLoader("ppd_lightning.reports"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["shown"] = shown
    environment.tests["number"] = _is_number
    told = [section for section in sections if section.blocks]
    return environment.get_template("page.html").render(title=title, subtitle=subtitle, sections=told)


def _is_number(cell: Cell) -> bool:
    return isinstance(cell, (int, float, Interval))
