"""Which file a value came from, for messages about it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf

from ppd_lightning.config.groups import conf_folder, options


@dataclass(frozen=True)
class ConfigFile:
    """An option's file: the dotted place that its values go to ("" is the root), and the values."""

    path: Path
    package: str
    values: DictConfig


@dataclass(frozen=True)
class Origins:
    """The files that a configuration was made of, the one that has the last word first.

    chosen: the file of each group's option; command_line: the keys that overrides set.
    """

    files: Sequence[ConfigFile]
    chosen: Mapping[str, Path]
    command_line: Sequence[str]

    @classmethod
    def composed(
        cls, choices: Mapping[str, Any], command_line: Sequence[str], config_dir: Path | None = None
    ) -> Origins:
        """The origins of a composition.

        Args:
            choices: the option of each group, the one that has the last word first, as Hydra tells them.
            command_line: the keys that overrides set.
            config_dir: the further folder of options, if any.
        """
        known = options(config_dir)
        chosen = {group: known[group][name] for group, name in choices.items() if name in known.get(group, {})}
        files = [file for group in chosen for file in _lineage(group, choices[group], known[group])]
        return cls([*files, _read(conf_folder() / "config.yaml", "")], chosen, command_line)

    @classmethod
    def single(cls, path: Path) -> Origins:
        """The origin of a configuration that one file holds."""
        return cls([_read(path, "")], {}, [])

    def of(self, key: str) -> str:
        """` (FILE)` where a file set the dotted `key`; nothing where the command line did."""
        if any(f"{key}.".startswith(f"{given}.") or given.startswith(f"{key}.") for given in self.command_line):
            return ""
        return next((f" ({file.path})" for file in self.files if _sets(file, key)), "")

    def of_group(self, group: str) -> str:
        """` (FILE)` of a group's chosen option."""
        return f" ({self.chosen[group]})" if group in self.chosen else ""


def _lineage(group: str, option: str, known: Mapping[str, Path]) -> Iterator[ConfigFile]:
    """An option's file and those of the same group that it builds on, which its own values replace."""
    file = _read(known[option], group)
    yield file
    for parent in file.values.get("defaults", []):
        if isinstance(parent, str) and parent != option and parent in known:
            yield from _lineage(group, parent, known)


def _read(path: Path, group: str) -> ConfigFile:
    values = OmegaConf.load(path)
    whole = any(line.strip() == "# @package _global_" for line in path.read_text(encoding="utf-8").splitlines())
    return ConfigFile(path, "" if whole else group, values if isinstance(values, DictConfig) else OmegaConf.create({}))


def _sets(file: ConfigFile, key: str) -> bool:
    if file.package:
        if not key.startswith(f"{file.package}."):
            return False
        key = key.removeprefix(f"{file.package}.")
    values: Any = OmegaConf.to_container(file.values, resolve=False)
    for part in key.split("."):
        if not isinstance(values, dict) or part not in values:
            return False
        values = values[part]
    return True
