"""A sweep's folder: what it is made of, how each run stands, and the table of all of them.

    sweep.json        the verbs and the overrides
    runs/0003.yaml    the configuration of a run, composed once; whoever runs it reads this file
    runs/0003.json    how it stands
    runs.csv          the table, written anew whenever a run's state changes, by whichever process changed it

A run has files of its own, so that processes on other machines never write the same one; the table is made of those.
"""

from __future__ import annotations

import csv
import hashlib
import io
import logging
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from ppd_lightning.errors import UserError
from ppd_lightning.storage.atomic import write_text_atomic
from ppd_lightning.storage.json_files import read_checked_json, write_checked_json
from ppd_lightning.storage.leases import holder_of

log = logging.getLogger(__name__)

SWEEP_AGAIN = "run the sweep's command again, which writes it anew"
RUN_AGAIN = "left out until the sweep's command runs again, which does what is missing of this run"
CHECKSUM = re.compile(r"[0-9a-f]{64}")
FIXED = ("number", "state", "folder", "why")


@dataclass(frozen=True)
class Sweep:
    """One multirun: its verbs, and its overrides with the swept values in them."""

    verbs: list[str]
    overrides: list[str]


@dataclass(frozen=True)
class SweepRun:
    """One run of a sweep.

    state: waiting, running, done, stopped (by a signal) or failed; why: what it failed of; mistake: whether that was a
    fault of the input; lost: whether its process died without a word; holder: the process that works on it or did last;
    lease: the file that this process keeps fresh; numbers: what the run measured, by dotted name.
    """

    number: int
    overrides: dict[str, str]
    folder: str
    state: str
    why: str = ""
    mistake: bool = False
    lost: bool = False
    holder: str = ""
    lease: str = ""
    numbers: dict[str, float] = field(default_factory=dict)


def write_sweep(folder: Path, sweep: Sweep) -> None:
    """Say what the sweep is made of."""
    write_checked_json(folder / "sweep.json", asdict(sweep))


def read_sweep(folder: Path) -> Sweep:
    """What a sweep's folder is made of.

    Raises:
        UserError: it is no sweep's folder, or what it is made of is damaged.
    """
    try:
        return Sweep(**read_checked_json(folder / "sweep.json", SWEEP_AGAIN))
    except FileNotFoundError as error:
        if (folder / "runs").is_dir():
            raise UserError(f"{folder / 'sweep.json'}: missing; {SWEEP_AGAIN}") from error
        raise UserError(f"{folder}: is no sweep's folder, it holds no sweep.json") from error
    except TypeError:
        raise UserError(f"{folder / 'sweep.json'}: damaged (other keys than expected); {SWEEP_AGAIN}") from None


def newest_sweep(output: Path, key: str) -> Path:
    """The sweep of an output folder that was last worked on.

    Raises:
        UserError: there is none; it names the `key` that would name one.
    """
    tables = sorted((output / "sweeps").glob("*/runs.csv"), key=lambda path: path.stat().st_mtime)
    if not tables:
        raise UserError(f"{key}: {output / 'sweeps'} holds no sweep yet; `ppd VERB... -m KEY=A,B` makes one")
    return tables[-1].parent


def write_config(folder: Path, number: int, text: str) -> None:
    """Write the configuration of a run, with its checksum in a comment as the first line."""
    write_text_atomic(config_file(folder, number), f"{_checksum_line(text)}{text}")


def config_text(folder: Path, number: int) -> str:
    """The configuration of a run as it was written.

    Raises:
        UserError: it is missing or damaged.
    """
    file = config_file(folder, number)
    try:
        written = file.read_text(encoding="utf-8")
    except (OSError, ValueError) as error:
        raise UserError(f"{file}: missing or damaged ({error}); {SWEEP_AGAIN}") from None
    first, _, text = written.partition("\n")
    if text and not first.startswith("#") and not CHECKSUM.search(first) and "\0" not in first:
        return written  # of an earlier version
    if written != f"{_checksum_line(text)}{text}":
        raise UserError(f"{file}: damaged (its lines do not have its checksum); {SWEEP_AGAIN}")
    return text


def config_file(folder: Path, number: int) -> Path:
    """Where the configuration of a run is."""
    return folder / "runs" / f"{number:04d}.yaml"


def record(folder: Path, *runs: SweepRun) -> None:
    """Note how runs stand, and write the table anew."""
    for run in runs:
        write_checked_json(folder / "runs" / f"{run.number:04d}.json", asdict(run))
    write_text_atomic(folder / "runs.csv", as_csv(read_runs(folder)))


def read_runs(folder: Path) -> list[SweepRun]:
    """All runs that were noted, by number; one whose process is gone without a word has failed.

    One whose file is damaged or missing is left out with a warning.
    """
    files = {path.with_suffix(".json") for end in ("json", "yaml") for path in (folder / "runs").glob(f"[0-9]*.{end}")}
    return sorted((run for file in files if (run := _read(file)) is not None), key=lambda run: run.number)


def read_run(folder: Path, number: int) -> SweepRun | None:
    """How one run stands; None where nothing was noted."""
    file = folder / "runs" / f"{number:04d}.json"
    return _read(file) if file.exists() else None


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


def swept_keys(runs: Sequence[SweepRun]) -> list[str]:
    """The keys whose values differ between runs."""
    keys = dict.fromkeys(key for run in runs for key in run.overrides)
    return [key for key in keys if len({run.overrides.get(key) for run in runs}) > 1]


def numbers_of(summary: Mapping[str, Any], prefix: str = "") -> dict[str, float]:
    """The finite numbers of a nested summary, by dotted name."""
    found: dict[str, float] = {}
    for name, value in summary.items():
        if isinstance(value, Mapping):
            found.update(numbers_of(value, f"{prefix}{name}."))
        elif isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value):
            found[f"{prefix}{name}"] = value
    return found


def _checksum_line(text: str) -> str:
    return f"# SHA-256 of the lines below: {hashlib.sha256(text.encode()).hexdigest()}\n"


def _read(file: Path) -> SweepRun | None:
    run = _noted(file)
    if run is None or run.state != "running" or holder_of(Path(run.lease)) is not None:
        return run
    run = _noted(file)  # it may have ended between the two looks
    if run is None or run.state != "running" or holder_of(Path(run.lease)) is not None:
        return run
    return replace(run, state="failed", why=f"died without a word ({run.holder})", lost=True)


def _noted(file: Path) -> SweepRun | None:
    """How a run stands; None, with a warning, where that is damaged."""
    try:
        return SweepRun(**read_checked_json(file, RUN_AGAIN))
    except UserError as error:
        fault = error.faults[0]
    except (OSError, TypeError):
        fault = f"{file}: missing or damaged (other keys than expected); {RUN_AGAIN}"
    log.warning("%s", fault)
    return None
