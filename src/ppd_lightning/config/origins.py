"""Which file a value came from, for messages about it."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, ListConfig, OmegaConf

from ppd_lightning.config.groups import LIST_GROUPS, conf_folder, options
from ppd_lightning.errors import UserError
from ppd_lightning.settings.flat import flat
from ppd_lightning.storage.yaml_files import read_yaml, yaml_text


@dataclass(frozen=True)
class ConfigFile:
    """An option's file: the dotted place that its values go to ("" is the root), and the values."""

    path: Path
    package: str
    values: DictConfig


class Origins:
    """The files that a configuration was composed of, read when somebody asks.

    Args:
        choices: the option of each group, the one that has the last word first, as Hydra lists them; of a group of
            which several may be chosen it lists none, and all of the group's files are looked at.
        command_line: the keys that overrides set.
        config_dir: the further folder of options, if any.
    """

    def __init__(self, choices: Mapping[str, Any], command_line: Sequence[str], config_dir: Path | None = None) -> None:
        self._choices = choices
        self._command_line = command_line
        self._config_dir = config_dir

    def of(self, key: str) -> str:
        """` (FILE)` where a file set the dotted `key`; nothing where the command line did."""
        if any(f"{key}.".startswith(f"{given}.") or given.startswith(f"{key}.") for given in self._command_line):
            return ""
        return next((f" ({file.path})" for file in self._files if _sets(file, key)), "")

    def of_group(self, group: str) -> str:
        """` (FILE)` of the chosen option whose values make up a dotted group."""
        return next((f" ({file.path})" for file in self._files if group and file.package == group), "")

    @contextmanager
    def named(self, presets: Sequence[str], overrides: Sequence[str]) -> Iterator[None]:
        """Faults of what a file sweeps, as in `presets`, end with the file, unless one of the overrides replaces it."""
        replaced = {_key(text) for text in overrides}
        files = {key: self.of(f"hydra.sweeper.params.{key}") for key in map(_key, presets) if key not in replaced}
        try:
            yield
        except UserError as error:
            raise UserError(fault + _of_related(_key(fault), files) for fault in error.faults) from error

    @cached_property
    def _files(self) -> list[ConfigFile]:
        known = options(self._config_dir)
        chosen = {group: [option] for group, option in self._choices.items() if option in known.get(group, {})}
        several = {group: list(known[group]) for group in LIST_GROUPS if group not in chosen}
        files = [
            file
            for group, names in (several | chosen).items()
            for option in names
            for file in _lineage(group, option, known[group])
        ]
        return [*files, _read(conf_folder() / "config.yaml", "")]


def _key(text: str) -> str:
    """The key at the beginning of an override or of a sentence about it."""
    return re.split("[=:]", text, maxsplit=1)[0].lstrip("+~")


def _of_related(key: str, files: Mapping[str, str]) -> str:
    """The file of the key, or of one above or below it; of all where the fault is the whole sweep's."""
    related = (name for name in files if f"{name}.".startswith(f"{key}.") or key.startswith((f"{name}.", "-m")))
    return "".join(dict.fromkeys(files[name] for name in related))


def _lineage(group: str, option: str, known: Mapping[str, Path]) -> Iterator[ConfigFile]:
    """An option's file and those of the same group that it builds on, which its own values replace."""
    try:
        file = _read(known[option], group)
    except UserError:
        return  # of a group of which several may be chosen, this one was not
    yield file
    parents = file.values.get("defaults", [])
    for parent in parents if isinstance(parents, ListConfig) else ():
        if isinstance(parent, str) and parent != option and parent in known:
            yield from _lineage(group, parent, known)


def _read(path: Path, group: str) -> ConfigFile:
    values = read_yaml(path)
    headers = re.findall(r"^\s*# @package\s+(\S+)\s*$", yaml_text(path), re.MULTILINE)
    package = headers[0].replace("_global_", "") if headers else group.replace("/", ".")
    return ConfigFile(path, package, values if isinstance(values, DictConfig) else OmegaConf.create({}))


def _sets(file: ConfigFile, key: str) -> bool:
    if file.package:
        if not key.startswith(f"{file.package}."):
            return file.package.startswith(f"{key}.")  # the file makes the group that it sets a key of
        key = key.removeprefix(f"{file.package}.")
    values = OmegaConf.to_container(file.values, resolve=False)
    assert isinstance(values, dict)
    named = {str(name): value for name, value in values.items()}
    return any(f"{own}.".startswith(f"{key}.") for own in flat(named))  # objective.beta may be one key in a file
