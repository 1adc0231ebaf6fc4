"""A finished training by its folder: a run's, or that of an export."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ppd_lightning.config.compose import read_config
from ppd_lightning.config.exported import completed
from ppd_lightning.config.later_keys import with_later_keys
from ppd_lightning.config.root import Config
from ppd_lightning.config.trusted import require_trusted
from ppd_lightning.config.validation import check
from ppd_lightning.errors import UserError
from ppd_lightning.rewards.sources import ON_HUB, SHIPPED

EXPORTED = "adapter.safetensors"
"""The file of an export whose metadata hold the configuration; a run has config.yaml beside it."""


def config_of(
    folder: Path, base: str | None = None, codec: str | None = None, files: Mapping[str, str] | None = None
) -> Config:
    """The configuration of the training whose run or export lies in `folder`.

    Args:
        base: folder or hub name of the base model, where it is not where the training had it; an export knows only its
            name.
        codec: as base, of the part of its name.
        files: as base, of what sees or reads what describes people, by key: rewards.NAME.weights.ROLE, user.path.

    Raises:
        UserError: there is none, or it does not fit this version.
    """
    if (folder / "config.yaml").is_file():
        config = read_config(folder / "config.yaml", complete=False, of_others=True)
    elif is_export(folder):
        from ppd_lightning.backbones.adapter import adapter_metadata

        values = adapter_metadata(folder / EXPORTED).get("configuration")
        if not isinstance(values, dict):
            raise UserError(
                f"{folder / EXPORTED}: its metadata do not hold the configuration of a training; `ppd export` writes it"
            )
        require_trusted(folder / EXPORTED, values)
        found, faults = check(with_later_keys(completed(values)))
        if found is None:
            raise UserError(f"{folder / EXPORTED}: made by another version ({fault})" for fault in faults)
        config = found
    else:
        raise UserError(
            f"{folder}: neither the folder of a run nor of an export; `ppd train` and `ppd export` make them"
        )
    paths: dict[str, Any] = {
        name: value for name, value in (("path", base), ("codec_path", codec)) if value is not None
    }
    model = dataclasses.replace(config.model, **paths)
    return dataclasses.replace(config, model=model, **_elsewhere(config, files or {}))


def _elsewhere(config: Config, files: Mapping[str, str]) -> dict[str, Any]:
    """The groups of the configuration whose files are not where it says, with the places that are named."""

    def place(key: str, location: str) -> str:
        known = location.startswith(SHIPPED) or ON_HUB.fullmatch(location) or Path(location).expanduser().exists()
        return location if known else files.get(key, location)

    rewards = {
        name: dataclasses.replace(
            reward,
            weights={role: place(f"rewards.{name}.weights.{role}", where) for role, where in reward.weights.items()},
        )
        for name, reward in config.rewards.items()
    }
    path, user = getattr(config.user, "path", None), config.user
    if path is not None:
        changed: dict[str, Any] = {"path": place("user.path", path)}
        user = dataclasses.replace(user, **changed)
    return {"rewards": rewards, "user": user}


def is_export(folder: Path) -> bool:
    """Whether it is the folder of an export."""
    return (folder / EXPORTED).is_file() and not (folder / "config.yaml").is_file()
