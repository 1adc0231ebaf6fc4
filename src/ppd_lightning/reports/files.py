"""A page and its tables as files."""

from __future__ import annotations

from pathlib import Path

from ppd_lightning.reports.about import About
from ppd_lightning.reports.blocks import as_csv, as_markdown, tables_of
from ppd_lightning.reports.page import page
from ppd_lightning.storage.atomic import write_json_atomic, write_text_atomic


def write_about(folder: Path, about: About) -> Path:
    """Write report.html; where methods were compared also study.json, and every table in tables.md and tables/NAME.csv.

    Returns:
        the page.
    """
    if about.values:
        named = [table for section in about.sections for table in tables_of(section.blocks)]
        used: dict[str, int] = {}
        for table in named:
            used[table.name] = used.get(table.name, 0) + 1
            suffix = f"-{used[table.name]}" if used[table.name] > 1 else ""
            write_text_atomic(folder / "tables" / f"{table.name}{suffix}.csv", as_csv(table))
        write_text_atomic(folder / "tables.md", "\n".join(map(as_markdown, named)))
        write_json_atomic(folder / "study.json", about.values)
    write_text_atomic(folder / "report.html", page(about.title, about.subtitle, about.sections))
    return folder / "report.html"
