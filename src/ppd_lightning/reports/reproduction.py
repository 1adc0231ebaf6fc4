"""How to reproduce runs: checked command lines, seeds, hashes, versions."""

from __future__ import annotations

import platform
from collections.abc import Sequence
from importlib.metadata import PackageNotFoundError, version

from ppd_lightning.reports.blocks import Block, Cell, Section, Table, Text
from ppd_lightning.reports.run_results import RunResult
from ppd_lightning.source_commit import source_commit

PACKAGES = ("ppd-lightning", "torch", "diffusers", "lightning", "transformers", "numpy")


def reproduction_section(runs: Sequence[RunResult], commands: Sequence[str] = ()) -> Section:
    """The commands that make the runs, and what made this page.

    Args:
        commands: those that are known, such as a sweep's; else each run's is derived from its settings.
    """
    found = {} if commands else {run.folder.name: run.command for run in runs}
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


def versions() -> str:
    """Versions, the source's commit where it is known, and the machine."""
    found = []
    for package in PACKAGES:
        try:
            found.append(f"{package} {version(package)}")
        except PackageNotFoundError:
            continue
    commit = source_commit()
    if commit:
        found.append(f"commit {commit}")
    return ", ".join([*found, f"Python {platform.python_version()}", f"{platform.system()} {platform.machine()}"])
