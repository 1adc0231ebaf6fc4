"""How to make it again: command lines that were checked, seeds, fingerprints, versions."""

from __future__ import annotations

import json
import platform
import shlex
import subprocess
from collections.abc import Sequence
from dataclasses import asdict
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from ppd_lightning.config.compose import compose, quoted
from ppd_lightning.config.folders import run_folder
from ppd_lightning.config.groups import options
from ppd_lightning.errors import UserError
from ppd_lightning.reports.blocks import Block, Cell, Commands, Section, Table, Words
from ppd_lightning.reports.results import RunResult, flat

CHOICES = {"data": "name", "model": "name", "user": "kind", "objective": "name"}
"""Groups whose option is told by a key of theirs."""
PACKAGES = ("ppd-lightning", "torch", "diffusers", "lightning", "transformers", "numpy")
READ = ("data", "model", "user", "shots", "objective", "optimizer", "trainer", "mode", "seed", "output")
"""What a training reads, besides the rewards."""


def reproduce_section(runs: Sequence[RunResult], commands: Sequence[str] = ()) -> Section:
    """The commands that make the runs, and what made this page.

    Args:
        commands: those that are known, such as a sweep's; else each run's is worked out from its settings.
    """
    blocks: list[Block] = [Commands(commands)] if commands else []
    if not commands:
        told = [(run, command_of(run)) for run in runs]
        lines = [line for _, line in told if line]
        if lines:
            blocks += [
                Words("Each command gives the very folder that the page tells of (this was checked)."),
                Commands(lines),
            ]
        blocks += [
            Words(
                f"{run.folder.name}: no command of this version gives this folder; its config.yaml has its settings.",
                "note",
            )
            for run, line in told
            if line is None
        ]
    rows: list[list[Cell]] = [
        [run.folder.name, str(run.seed), str(one.settings.get("adapter", ""))[:12], one.folder.name]
        for run in runs
        for one in run.evaluations
    ] or [[run.folder.name, str(run.seed), "", ""] for run in runs]
    if rows:
        blocks.append(Table("Fingerprints", ["run", "seed", "SHA-256 of the weights", "evaluation"], rows))
    blocks.append(
        Words(f"This page was made with {made_with()}. Runs do not note the machine that they were trained on.", "note")
    )
    return Section("How to make it again", blocks)


def command_of(run: RunResult) -> str | None:
    """A command line that trains the run, found from its settings; None where none was found that gives its folder."""
    known, values = options(), run.settings
    overrides = []
    for group, key in CHOICES.items():
        if group in values and values[group].get(key) in known.get(group, {}):
            overrides.append(f"{group}={values[group][key]}")
    if values.get("rewards"):
        overrides.append(f"reward=[{','.join(values['rewards'])}]")
    try:
        shipped = flat({key: value for key, value in asdict(compose(overrides)).items() if key in READ})
        own = flat({key: value for key, value in values.items() if key in READ and key != "output"})
        overrides += [
            f"{key}={_written(value)}" for key, value in own.items() if key in shipped and shipped[key] != value
        ]
        if run_folder(compose(overrides)).name != run.folder.name:
            return None
    except UserError:
        return None
    return shlex.join(["ppd", "train", *overrides])


def made_with() -> str:
    """Versions, the source's commit where it is a git checkout, and the machine."""
    told = []
    for package in PACKAGES:
        try:
            told.append(f"{package} {version(package)}")
        except PackageNotFoundError:
            continue
    commit = _git("describe", "--always", "--dirty") if _git("ls-files", Path(__file__).name) else ""
    if commit:
        told.append(f"commit {commit}")
    return ", ".join([*told, f"Python {platform.python_version()}", f"{platform.system()} {platform.machine()}"])


def _git(*words: str) -> str:
    """What git says in the folder of this file; nothing where it is not there or knows none."""
    try:
        done = subprocess.run(
            ["git", *words], cwd=Path(__file__).parent, capture_output=True, text=True, check=True, timeout=10
        )
    except (OSError, subprocess.SubprocessError):
        return ""
    return done.stdout.strip()


def _written(value: Any) -> str:
    """A value as an override."""
    if isinstance(value, str):
        return quoted(value)
    return json.dumps(value, separators=(",", ":"))
