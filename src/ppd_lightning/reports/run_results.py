"""The files of a run's folder, read without a model: settings, summary, evaluations, judgements."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import pyarrow as pa
import pyarrow.parquet as pq
from omegaconf import OmegaConf

from ppd_lightning.errors import UserError
from ppd_lightning.generation.settings import ADAPTERS
from ppd_lightning.storage import json_files
from ppd_lightning.storage.checksums import DONE, known_sha256, require_there
from ppd_lightning.storage.finished_run import AGAIN, is_finished
from ppd_lightning.storage.result_folder import remedy_of, require_whole, result_files
from ppd_lightning.storage.yaml_files import read_yaml

if TYPE_CHECKING:
    from ppd_lightning.users.users import Users

Unit = tuple[str, str, str, int]
"""What identifies a comparison: group, user, caption, seed of the noise."""


@dataclass(frozen=True)
class Measured:
    """A folder with a summary.json in a run's folder: one evaluation, one judgement, one interpolation.

    settings: what settings.json says of how it was made; {} where there is none.
    """

    folder: Path
    summary: dict[str, Any]
    settings: dict[str, Any]

    @property
    def guidance(self) -> float:
        """The user guidance scale of its images."""
        return float(self.settings["generation"]["user_guidance"])

    @property
    def people(self) -> list[str]:
        """The files of `generation.people` whose vectors stood in for those of the data; [] as a rule."""
        return [Path(file).name for file in self.settings["generation"].get("people", [])]

    @cached_property
    def comparisons(self) -> pa.Table | None:
        """A row a comparison; None where there is no such table."""
        path = self.folder / "comparisons.parquet"
        require_whole(path)
        if not path.exists():
            return None
        try:
            return pq.read_table(path)
        except (OSError, pa.ArrowException) as error:
            reason = " ".join(str(error).split())
            raise UserError(f"{path}: damaged ({reason}); {remedy_of(self.folder)}") from None

    @cached_property
    def rows(self) -> dict[Unit, int]:
        """The row of each comparison in the table."""
        assert self.comparisons is not None
        columns = [self.comparisons[name].to_pylist() for name in ("group", "user", "caption", "seed")]
        return {unit: row for row, unit in enumerate(zip(*columns, strict=True))}


class Resolver(Protocol):
    """What this version makes of a run's stored settings."""

    @property
    def defaults(self) -> Mapping[str, Any]:
        """The shipped defaults by dotted key."""

    def users_of(self, settings: Mapping[str, Any], output: Path) -> Users | None:
        """The users of a run with their data; None if this version cannot read the settings."""

    def command_of(self, settings: Mapping[str, Any], name: str) -> str | None:
        """A command line that trains the run with this folder name; None if none does."""


@dataclass(frozen=True)
class RunResult:
    """A run's folder. settings: its config.yaml, nested; summary: of the training, {} before its end."""

    folder: Path
    settings: dict[str, Any]
    summary: dict[str, Any]
    resolver: Resolver

    @property
    def output(self) -> Path:
        """The folder that the paths of images are relative to."""
        return self.folder.parent.parent

    @property
    def finished(self) -> bool:
        """Whether the training has come to its end."""
        return is_finished(self.folder)

    @property
    def objective(self) -> str:
        """The objective's name, under which evaluations list the run."""
        return str(self.settings["objective"]["name"])

    @property
    def seed(self) -> int:
        """The training's."""
        return int(self.settings["seed"])

    @cached_property
    def users(self) -> Users | None:
        """The users with their data, below `output`; None if this version cannot read the settings."""
        return self.resolver.users_of(self.settings, self.output)

    @property
    def command(self) -> str | None:
        """A command line that trains the run; None if this version knows none."""
        return self.resolver.command_of(self.settings, self.folder.name)

    @cached_property
    def evaluations(self) -> list[Measured]:
        """The evaluations of the weights that are in the folder now, by guidance scale."""
        current = {weights: known_sha256(self.folder / name) for weights, name in self._adapters()}
        fresh = [
            one
            for one in self.measured("evaluation")
            if one.settings and one.settings["adapter"] == current.get(one.settings["generation"]["weights"])
        ]
        return sorted(fresh, key=lambda one: (one.guidance, one.folder.name))

    @property
    def main_evaluation(self) -> Measured | None:
        """The evaluation at the run's own user guidance scale, else the one at the largest; without people's files."""
        scale = self.settings.get("generation", {}).get("user_guidance")
        plain = [one for one in self.evaluations if not one.people]
        own = [one for one in plain if one.guidance == scale] or plain or self.evaluations
        return own[-1] if own else None

    def measured(self, kind: str) -> Iterator[Measured]:
        """The finished folders `{kind}-{fingerprint}`."""
        for path in result_files(self.folder, kind):
            settings = path.with_name("settings.json")
            yield Measured(path.parent, read_json(path), read_json(settings) if settings.exists() else {})

    def _adapters(self) -> Iterator[tuple[str, str]]:
        for weights, name in ADAPTERS.items():
            if (self.folder / name).exists():
                yield weights, name


def read_run_result(folder: Path, resolver: Resolver) -> RunResult:
    """The run in a folder.

    The configuration is read as it is, also one that an earlier version wrote, whose keys were others; what follows
    from the environment stays as it is written.

    Raises:
        UserError: it is no run's folder, its configuration is damaged, or a finished training lacks a file.
    """
    path = folder / "config.yaml"
    if not path.exists():
        raise UserError(f"{folder}: is no run's folder: it has no config.yaml; `ppd train` makes one")
    require_there(folder, AGAIN, DONE)
    require_whole(path)
    try:
        settings = OmegaConf.to_container(read_yaml(path))
    except UserError as error:
        raise UserError(f"{fault}; {AGAIN}" for fault in error.faults) from error
    groups = ("objective", "data", "user", "shots", "model", "trainer")
    if (
        not isinstance(settings, dict)
        or "seed" not in settings
        or not all(isinstance(settings.get(group), dict) for group in groups)
    ):
        raise UserError(f"{path}: is no configuration of a run; {AGAIN}")
    summary = folder / "summary.json"
    values = {str(key): value for key, value in settings.items()}
    return RunResult(folder, values, read_json(summary) if summary.exists() else {}, resolver)


def read_json(path: Path) -> dict[str, Any]:
    """A JSON file of a finished folder that a verb wrote.

    Raises:
        UserError: the file is damaged.
    """
    require_whole(path)
    return json_files.read_json(path, remedy_of(path.parent))
