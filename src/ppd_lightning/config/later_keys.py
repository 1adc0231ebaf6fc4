"""Keys that came after results had been made without them, with what those results were made by."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields
from typing import Any

from ppd_lightning.config.root import PARTS
from ppd_lightning.settings.part import part_class

LATER: Mapping[str, Any] = {
    "data.candidates": 8,
    "data.faithfulness": 0.3,
    "data.images": "drawn",
    "data.merit_spread": 0.5,
    "data.noises": 3,
    "data.origin": None,
    "data.quality": 0.3,
    "data.roots": [],
    "describe.roots": [],
    "generation.decode_at_once": None,
    "generation.text_encoder_on": "device",
    "model.arithmetic": "stock",
    "trainer.skip_nonfinite": 0,
}


def with_later_keys(values: Mapping[str, Any]) -> dict[str, Any]:
    """Stored settings, completed by later keys in groups that they have; of a part, by those that its class takes."""
    completed = dict(values)
    for name, value in LATER.items():
        group, _, key = name.partition(".")
        held = completed.get(group)
        if isinstance(held, Mapping) and key not in held and _takes(group, held, key):
            completed[group] = {**held, key: value}
    return completed


def _takes(group: str, held: Mapping[str, Any], key: str) -> bool:
    if group not in PARTS:
        return True
    try:
        return any(key == field.name for field in fields(part_class(str(held.get("target")), PARTS[group])))
    except ValueError:  # the check of the values says so
        return False
