"""The rows of a metrics.csv, read without Lightning."""

from __future__ import annotations

import csv
from pathlib import Path


def read_metrics(path: Path) -> list[dict[str, str]]:
    """The rows of a metrics.csv; a row that a kill cut short, or one that is damaged otherwise, is left out."""
    with path.open(newline="", encoding="utf-8", errors="replace") as file:
        rows = list(csv.reader(line.replace("\0", "") for line in file))
    header = rows[0] if rows else ["step"]
    return [
        {name: value for name, value in zip(header, row, strict=True) if value != ""}
        for row in rows[1:]
        if len(row) == len(header)
    ]
