"""`ppd doctor`: what this configuration needs and this machine lacks, all of it, each with the remedy."""

from __future__ import annotations

import os
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path
from typing import Any

from packaging.requirements import Requirement
from rich.table import Column, Table
from rich.text import Text

from ppd_lightning.config.folders import data_folder, rewards_used
from ppd_lightning.config.root import PARTS, Config
from ppd_lightning.config.workspace import Workspace
from ppd_lightning.console import table_console
from ppd_lightning.errors import UserError
from ppd_lightning.settings.part import Finding, Part
from ppd_lightning.training.settings import Trainer

DISTRIBUTION = "ppd-lightning"
LEAST_ROOM = 50e6
"""Bytes, fewer than which nothing is made with."""
LARGE_STORE = 10e9
"""Bytes of text states from which on the way without a store is named."""


def run(config: Config) -> dict[str, Any]:
    """Print a table of what is needed, and below it what to do.

    Raises:
        SystemExit: with code 1, something is missing.
    """
    packages = list(_packages(config))
    findings = [*packages, output_finding(Path(config.output)), *_source(config)]
    if not any(finding.remedies for finding in packages):  # the others look with them
        findings += [*config.model.findings(), *config.user.findings(), *_rewards(config), *config.judge.findings()]
        findings += [*_text(config), *_hardware(config.trainer), _work(config)]
    need = Column("need", max_width=34, overflow="fold")  # so that a file's name beside it is not cut at 100 columns
    table = Table(
        "", need, Column("found", overflow="fold"), title="What this configuration needs", title_justify="left"
    )
    for finding in findings:
        mark = Text("missing", "red") if finding.remedies else Text("ok", "green")
        table.add_row(mark, finding.need, finding.found)
    console = table_console()
    console.print(table)
    remedies = dict.fromkeys(remedy for finding in findings for remedy in finding.remedies)
    for remedy in remedies:
        console.print(f"- {remedy}", soft_wrap=True)
    if remedies:
        raise SystemExit(1)
    return {"needs": [finding.need for finding in findings]}


def _packages(config: Config) -> Iterator[Finding]:
    """The distributions that the project declares, looked up by their metadata without importing them."""
    parts: list[Part] = [getattr(config, group) for group in PARTS]
    extras = {extra for part in parts for extra in part.extras()}
    sound = 0
    for text in metadata.requires(DISTRIBUTION) or []:
        requirement = Requirement(text)
        marker = requirement.marker
        wanted = [extra for extra in ("", *sorted(extras)) if marker is None or marker.evaluate({"extra": extra})]
        if not wanted:
            continue
        fault = _package_fault(requirement)
        if fault:
            source = f"{DISTRIBUTION}[{wanted[0]}]" if wanted[0] else DISTRIBUTION
            yield Finding(f"package {requirement}".partition(";")[0], fault, (f'pip install "{source}"',))
        else:
            sound += 1
    yield Finding("other Python packages", f"{sound} in the right versions")


def _package_fault(requirement: Requirement) -> str:
    try:
        version = metadata.version(requirement.name)
    except metadata.PackageNotFoundError:
        return "not installed"
    return "" if requirement.specifier.contains(version, prereleases=True) else version


def output_finding(folder: Path) -> Finding:
    """Whether anything can be written to the output folder, or to the nearest one above it that is there."""
    there = next(path for path in (folder.absolute(), *folder.absolute().parents) if path.exists())
    choose = "choose another output=..."
    try:
        room = os.statvfs(there)
    except OSError as error:
        return Finding(f"output={folder}", f"not readable ({error.strerror})", (choose,))
    free = room.f_bavail * room.f_frsize
    found, remedies = f"{_size(free)} free", tuple[str, ...]()
    if not there.is_dir():
        found, remedies = f"{there} is no folder", (choose,)
    elif room.f_flag & os.ST_RDONLY or not os.access(there, os.W_OK | os.X_OK):
        why = "the file system is read-only" if room.f_flag & os.ST_RDONLY else "no permission to write"
        found, remedies = f"read-only ({why})", (f"output={folder}: finished results can be used, for others {choose}",)
    elif free < LEAST_ROOM or (room.f_files and not room.f_favail):
        found = f"full ({_size(free)} and {room.f_favail:,} files free)"
        remedies = (f"output={folder}: make room, or {choose}",)
    return Finding(f"output={folder}", found, remedies)


def _source(config: Config) -> list[Finding]:
    try:
        return list(config.data.findings_in(data_folder(config)))
    except ImportError:  # of a package, which is named as missing
        return []


def _rewards(config: Config) -> Iterator[Finding]:
    """The weights of the rewards that label the pairs, describe users or score the images."""
    from ppd_lightning.rewards.reward import open_rewards

    scoring = {name: config.rewards[name] for name in config.evaluation.rewards}
    for name, settings in (rewards_used(config) | scoring).items():
        need = f"reward {name}"
        try:
            reward = open_rewards({name: settings})[name]
            faults = reward.faults()
            found = "\n".join(reward.files.values()) if not faults else "not found"
        except UserError as error:
            faults, found = error.faults, "faulty"
        yield Finding(need, found or "needs no weights", tuple(faults))


def _text(config: Config) -> Iterator[Finding]:
    """What the text states of a caption take in the text store, and those of all captions where they can be counted."""
    numbers = config.model.caption_numbers
    if numbers is None:
        return
    width, kind = (2, "fp16") if config.data.half_precision else (4, "fp32")
    found = f"{_size(width * numbers)} a caption in {kind}"
    if config.trainer.text == "computed":
        yield Finding("text states", f"none are stored ({found}): each step computes those of its captions")
        return
    count = _captions(config)
    if count:
        found += f", {_size(width * numbers * count)} for {count:,} captions"
        if width * numbers * count > LARGE_STORE:
            found += "; trainer.text=computed stores none and computes them in each step"
    yield Finding("text states", found)


def _captions(config: Config) -> int | None:
    """How many captions are prepared, or else will be at most; None where nobody knows."""
    try:
        return len(Workspace(config).data.captions_table())
    except UserError:
        pass  # not prepared
    try:
        return config.data.caption_count()
    except UserError:  # which the source's own findings name
        return None


def _size(count: float) -> str:
    for unit, factor in (("GB", 1e9), ("MB", 1e6)):
        if count >= 0.1 * factor:
            return f"{count / factor:,.2f} {unit}"
    return f"{count / 1e3:.1f} kB"


def _hardware(trainer: Trainer) -> Iterator[Finding]:
    import torch

    if trainer.accelerator == "cpu":
        return
    count = torch.cuda.device_count()
    names = [torch.cuda.get_device_name(device) for device in range(count)]
    found = ", ".join(names) or f"none (torch {torch.__version__})"
    if trainer.accelerator == "auto":
        yield Finding("a GPU, or the CPU instead", found)
        return
    remedy = f"use trainer=cpu, or a torch build and driver that see {trainer.devices} GPU"
    yield Finding(f"GPUs: {trainer.devices}", found, (remedy,) if count < trainer.devices else ())


def _work(config: Config) -> Finding:
    """Threads and memory for what is asked for at once."""
    from ppd_lightning.commands.requirements import memory, work_faults

    return Finding("memory", f"{memory() / 1e9:,.1f} GB", tuple(work_faults(config)))
