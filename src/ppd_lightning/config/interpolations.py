"""How large values become when `${...}` in them is replaced, found without replacing it."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

LARGEST = 1_000_000
"""Characters of all values together."""
MOST_NESTED = 8
"""Interpolations whose name has an interpolation in it, as in `${a.${b}}`: what they point to is not known before."""

REFERENCE = re.compile(r"\$\{\s*(?:oc\.(?:select|deprecated|dict\.keys|dict\.values):)?\s*([\w.\[\]-]+)\s*[},]")
NESTED = re.compile(r"\$\{[^:{}]*\$\{")
NAMES = re.compile(r"[^.\[\]]+")

Path = tuple[str, ...]


def too_large(values: Mapping[str, Any]) -> list[str]:
    """A sentence where a few lines that point to each other would fill the memory; none as a rule."""
    leaves: dict[Path, str] = {}
    sizes: dict[Path, int] = {}
    _collect(values, (), leaves, sizes)
    pointing = {path: text for path, text in leaves.items() if "${" in text}
    nested = [path for path, text in pointing.items() for _ in NESTED.findall(text)]
    if len(nested) > MOST_NESTED:
        place = ".".join(nested[MOST_NESTED])
        return [f"{place}: more than {MOST_NESTED} interpolations within names of interpolations"]
    known: dict[Path, int] = {}
    for path in pointing:
        try:
            size = _size(path, leaves, sizes, known)
        except RecursionError:
            return [f"{'.'.join(path)}: its interpolations point from one to the next too often; write the value out"]
        if size > LARGEST:
            return [
                f"{'.'.join(path)}: becomes more than {LARGEST:,} characters when its interpolations are replaced; "
                "write the value out"
            ]
    return []


def _collect(value: Any, path: Path, leaves: dict[Path, str], sizes: dict[Path, int]) -> None:
    if isinstance(value, Mapping | list):
        sizes[path] = 0
        for name, inner in value.items() if isinstance(value, Mapping) else enumerate(value):
            _collect(inner, (*path, str(name)), leaves, sizes)
    else:
        leaves[path] = value if isinstance(value, str) else " "


def _size(path: Path, leaves: Mapping[Path, str], groups: Mapping[Path, int], known: dict[Path, int]) -> int:
    """Characters of a value; 0 of one that is on the way to itself, which replacing them finds, and of none."""
    if path not in known:
        known[path] = 0
        if path in groups:
            parts = [inner for inner in (*leaves, *groups) if len(inner) == len(path) + 1 and inner[:-1] == path]
            known[path] = sum(_size(inner, leaves, groups, known) for inner in parts)
        elif path in leaves:
            text = leaves[path]
            targets = [_target(name, path) for name in REFERENCE.findall(text)] if "${" in text else []
            size = len(text) + sum(_size(target, leaves, groups, known) for target in targets)
            known[path] = min(size, 100 * LARGEST)
    return known[path]


def _target(name: str, path: Path) -> Path:
    """What a reference in the value at `path` points to; dots at its begin count from there."""
    dots = len(name) - len(name.lstrip("."))
    around = path[: len(path) - dots] if dots else ()
    return (*around, *NAMES.findall(name))
