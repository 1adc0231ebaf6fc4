"""What of a configuration goes with a result that is given away: what it depends on, and no path of a machine."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

from ppd_lightning.config.compose import compose
from ppd_lightning.config.folders import rewards_used
from ppd_lightning.config.root import Config
from ppd_lightning.config.stored import stored_values
from ppd_lightning.rewards.sources import ON_HUB, SHIPPED
from ppd_lightning.training.settings import Trainer

DRAWING = ("steps", "text_guidance", "user_guidance", "user_guidance_interval", "batch_size", "decoder", "weights")
RESULT: Mapping[str, Collection[str] | None] = {
    "data": None,
    "model": None,
    "user": None,
    "shots": None,
    "objective": None,
    "optimizer": None,
    "trainer": Trainer.result_keys,
    "generation": DRAWING,
    "rewards": None,
    "mode": None,
    "seed": None,
}
"""The groups that a result depends on, each with the keys that it depends on where these are not all."""

FILES = (".csv", ".tsv", ".json", ".jsonl", ".ndjson", ".parquet", ".txt", ".yaml", ".yml", ".safetensors", ".ckpt")
"""Endings of files: OWNER/NAME with one of these is no name on the model hub."""


def exported_values(config: Config) -> dict[str, Any]:
    """Those settings as plain values; of files, folders and URLs but the model hub's the last name only."""
    values = stored_values(config)
    values["rewards"] = {name: values["rewards"][name] for name in rewards_used(config)}
    kept = {
        group: values[group] if keys is None else {key: values[group][key] for key in keys}
        for group, keys in RESULT.items()
    }
    named: dict[str, Any] = without_folders(kept)
    return named


def completed(values: Mapping[str, Any]) -> dict[str, Any]:
    """The settings of an export with the shipped defaults of those that its result does not depend on."""
    defaults = dataclasses.asdict(compose())
    partial = [group for group, keys in RESULT.items() if keys is not None]
    own = {group: values[group] for group in partial if group in values}
    merged = {
        group: {**defaults[group], **own.get(group, {})} for group in partial if isinstance(own.get(group, {}), dict)
    }
    return {**defaults, **values, **merged}


def without_folders(value: Any) -> Any:
    """Plain values; of a text that is a file, a folder or a URL only the last name is left."""
    if isinstance(value, dict):
        return {key: without_folders(part) for key, part in value.items()}
    if isinstance(value, list | tuple):
        return [without_folders(part) for part in value]
    return _last_name(value) if isinstance(value, str) else value


def _last_name(text: str) -> str:
    if text.startswith((SHIPPED, "hf://")) or _is_on_hub(text):
        return text
    parts = [part for part in re.split(r"[/\\]", text.partition("?")[0] if "://" in text else text) if part]
    if len(parts) > 1 or parts[:1] != [text]:
        return parts[-1] if parts else ""
    return "~" if text.startswith("~") else text


def _is_on_hub(text: str) -> bool:
    if not ON_HUB.fullmatch(text) or (":" not in text and text.lower().endswith(FILES)):
        return False
    try:
        return not Path(text).exists()
    except OSError:  # too long for a path
        return False
