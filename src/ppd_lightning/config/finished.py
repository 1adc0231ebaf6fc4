"""A finished training by its folder: a run's, or that of an export."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

from ppd_lightning.config.compose import read_config
from ppd_lightning.config.root import Config
from ppd_lightning.config.validation import check
from ppd_lightning.errors import UserError

EXPORTED = "adapter.safetensors"
"""The file of an export whose metadata hold the configuration; a run has config.yaml beside it."""


def config_of(folder: Path, base: str | None = None, codec: str | None = None) -> Config:
    """The configuration of the training whose run or export lies in `folder`.

    Args:
        base: folder or hub name of the base model, where it is not where the training had it; an export knows only its
            name.
        codec: as base, of the part of its name.

    Raises:
        UserError: there is none, or it does not fit this version.
    """
    if (folder / "config.yaml").is_file():
        config = read_config(folder / "config.yaml")
    elif is_export(folder):
        from ppd_lightning.backbones.adapter import adapter_metadata

        values = adapter_metadata(folder / EXPORTED).get("configuration", {})
        found, faults = check(values)
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
    return dataclasses.replace(config, model=dataclasses.replace(config.model, **paths))


def is_export(folder: Path) -> bool:
    """Whether it is the folder of an export."""
    return (folder / EXPORTED).is_file() and not (folder / "config.yaml").is_file()
