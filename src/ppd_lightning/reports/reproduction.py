"""How to reproduce runs: checked command lines, seeds, hashes, versions."""

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
from ppd_lightning.config.groups import options
from ppd_lightning.reports.blocks import Block, Cell, Section, Table, Text
from ppd_lightning.reports.run_results import RunResult, flat
from ppd_lightning.errors import UserError
from ppd_lightning.config.folders import run_folder

CHOICES = {"data": "name", "model": "name", "user": "kind", "objective": "name"}
"""Groups, and their key that names the chosen option."""
PACKAGES = ("ppd-lightning", "torch", "diffusers", "lightning", "transformers", "numpy")
READ = ("data", "model", "user", "shots", "objective", "optimizer", "trainer", "mode", "seed", "output")
"""What a training reads, besides the rewards."""


def reproduction_section(runs: Sequence[RunResult], commands: Sequence[str] = ()) -> Section:
    """The commands that make the runs, and what made this page.

    Args:
        commands: those that are known, such as a sweep's; else each run's is derived from its settings.
    """
    found = {} if commands else {run.folder.name: command_of(run) for run in runs}
    lines = [*commands, *(line for line in found.values() if line)]
    blocks: list[Block] = [Text("\n".join(lines), "command")] if lines else []
    unknown = [name for name, line in found.items() if line is None]
    if unknown:
        blocks.append(Text(f"No command of this version makes {', '.join(unknown)}: see config.yaml.", "note"))
    rows: list[list[Cell]] = [
        [run.folder.name, str(run.seed), str(one.settings.get("adapter", ""))[:12], one.folder.name]
        for run in runs
        for one in run.evaluations
    ] or [[run.folder.name, str(run.seed), "", ""] for run in runs]
    if rows:
        blocks.append(Table("Hashes", ["run", "seed", "SHA-256 of the weights", "evaluation"], rows))
    made = f"Page made with {versions()}. Runs do not record the machine of their training."
    if not commands and lines:
        made += " Each command was checked: it has the run folder of this page."
    blocks.append(Text(made, "note"))
    return Section("Reproduction", blocks)


def command_of(run: RunResult) -> str | None:
    """A command line that trains the run, derived from its settings; None if none of them has its folder."""
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


def versions() -> str:
    """Versions, the source's commit where it is a git checkout, and the machine."""
    found = []
    for package in PACKAGES:
        try:
            found.append(f"{package} {version(package)}")
        except PackageNotFoundError:
            continue
    commit = _git("describe", "--always", "--dirty") if _git("ls-files", Path(__file__).name) else ""
    if commit:
        found.append(f"commit {commit}")
    return ", ".join([*found, f"Python {platform.python_version()}", f"{platform.system()} {platform.machine()}"])


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
