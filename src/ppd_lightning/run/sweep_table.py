"""The table of a sweep: one row a run, written whole after each of them, by whichever process ran it.

A run has a file of its own, so that processes on other machines never write the same one; the table is made of those.
"""

from __future__ import annotations

import csv
import io
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from ppd_lightning.run.atomic import write_json_atomic, write_text_atomic

FIXED = ("number", "state", "folder", "why")


@dataclass(frozen=True)
class SweepRun:
    """One run of a sweep.

    state: waiting, done or failed; why: what it failed of; mistake: whether that was a fault of the input;
    numbers: what the run measured, by dotted name.
    """

    number: int
    overrides: dict[str, str]
    folder: str
    state: str
    why: str = ""
    mistake: bool = False
    numbers: dict[str, float] = field(default_factory=dict)


def record(folder: Path, *runs: SweepRun) -> None:
    """Note how runs stand, and write the table anew."""
    for run in runs:
        write_json_atomic(folder / "runs" / f"{run.number:04d}.json", asdict(run))
    write_text_atomic(folder / "runs.csv", as_csv(read_runs(folder)))


def read_runs(folder: Path) -> list[SweepRun]:
    """All runs that were noted, by number."""
    files = sorted((folder / "runs").glob("[0-9]*.json"))
    return sorted(
        (SweepRun(**json.loads(file.read_text(encoding="utf-8"))) for file in files), key=lambda run: run.number
    )


def as_csv(runs: Sequence[SweepRun]) -> str:
    """Number, state and folder, a column for each override, a column for each number."""
    overrides = dict.fromkeys(key for run in runs for key in run.overrides)
    numbers = dict.fromkeys(key for run in runs for key in run.numbers)
    text = io.StringIO()
    writer = csv.DictWriter(text, [*FIXED, *overrides, *numbers], lineterminator="\n")
    writer.writeheader()
    for run in runs:
        fixed = {"number": run.number, "state": run.state, "folder": run.folder, "why": run.why}
        writer.writerow({**run.numbers, **run.overrides, **fixed})
    return text.getvalue()


def numbers_of(summary: Mapping[str, Any], prefix: str = "") -> dict[str, float]:
    """The finite numbers of a nested summary, by dotted name."""
    found: dict[str, float] = {}
    for name, value in summary.items():
        if isinstance(value, Mapping):
            found.update(numbers_of(value, f"{prefix}{name}."))
        elif isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value):
            found[f"{prefix}{name}"] = value
    return found
