"""A configuration as files hold it: without secrets, yet whoever reads the file has the same configuration.

- A text that came from a resolver, such as `${oc.env:TOKEN}`, is stored as it was written, and resolved by the reader.
- Of URLs the passwords and queries are left out. This process and those that it starts still know them.
"""

from __future__ import annotations

import dataclasses
import json
import os
import re
from collections.abc import Iterator
from typing import Any

from omegaconf import DictConfig, ListConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from ppd_lightning.config.root import Config
from ppd_lightning.masking import without_access

WITHHELD = "PPD_WITHHELD"
"""The environment variable that holds the URLs of which files hold a part, as JSON by that part."""

RESOLVER = re.compile(r"(?<!\\)(?:\\\\)*\$\{[^${}:]*:")
"""A call of a resolver in a text."""

_written: dict[str, dict[str, str]] = {}
"""By dotted key what was written for a value (its JSON), where that came from a resolver."""


def stored_values(config: Config) -> dict[str, Any]:
    """The configuration as plain nested values for files."""
    values: dict[str, Any] = _for_files(dataclasses.asdict(config), "")
    return values


def resolved_values(node: DictConfig) -> tuple[dict[str, Any], list[tuple[str, str]]]:
    """Plain values of a composition or a file, everything resolved, and by key why something cannot be.

    What cannot be resolved stays as it is written.
    """
    faults: list[tuple[str, str]] = []
    raw = OmegaConf.to_container(node)
    assert isinstance(raw, dict)
    if WITHHELD not in os.environ and not any(_interpolated(raw, raw)):
        return {str(key): value for key, value in raw.items()}, []
    values = _resolved(node, "", faults)
    from_resolvers = set(_texts_from_resolvers(raw, values))
    _remember(raw, values, "", from_resolvers)
    return {str(key): value for key, value in values.items()}, faults


def _for_files(value: Any, key: str) -> Any:
    written = _written.get(key, {}).get(_as_json(value)) if key in _written else None
    if written is not None:
        return _withhold(written, value)
    if isinstance(value, dict):
        return {name: _for_files(part, f"{key}.{name}".lstrip(".")) for name, part in value.items()}
    if isinstance(value, list | tuple):
        return [_for_files(part, f"{key}.{place}") for place, part in enumerate(value)]
    if not isinstance(value, str):
        return value
    return re.sub(r"(\\*)\$\{", r"\1\1\\${", _withhold(value, value))  # which OmegaConf would resolve


def _withhold(written: str, value: Any) -> str:
    """The text without what gives access, which this process and its children look up by what it came to."""
    stored = without_access(written)
    if stored != written and isinstance(value, str):
        os.environ[WITHHELD] = json.dumps(_withheld() | {stored if written == value else without_access(value): value})
    return stored


def _resolved(node: DictConfig | ListConfig, key: str, faults: list[tuple[str, str]]) -> Any:
    inside: Iterator[Any] = iter(node) if isinstance(node, DictConfig) else iter(range(len(node)))
    values: dict[Any, Any] = {}
    for name in inside:
        dotted = f"{key}.{name}".lstrip(".")
        if OmegaConf.is_missing(node, name):
            values[name] = "???"
            continue
        try:
            value = node[name]
        except OmegaConfBaseException as error:
            why = str(error).splitlines()[0]
            faults.append((dotted, why.removeprefix("KeyError raised while resolving interpolation: ").strip('"')))
            unresolved: Any = OmegaConf.to_container(node)
            value = unresolved[name]
        if isinstance(value, DictConfig | ListConfig):
            value = _resolved(value, dotted, faults)
        values[name] = _withheld().get(value, value) if isinstance(value, str) else value
    return values if isinstance(node, DictConfig) else list(values.values())


def _texts_from_resolvers(raw: Any, value: Any) -> Iterator[str]:
    for text, own in _interpolated(raw, value):
        if RESOLVER.search(text) and isinstance(own, str) and own:
            yield own


def _interpolated(raw: Any, value: Any) -> Iterator[tuple[str, Any]]:
    """The texts with an interpolation, each with what it came to."""
    if isinstance(raw, dict) and isinstance(value, dict):
        for name, part in raw.items():
            yield from _interpolated(part, value.get(name))
    elif isinstance(raw, list) and isinstance(value, list):
        for part, own in zip(raw, value, strict=True):
            yield from _interpolated(part, own)
    elif isinstance(raw, str) and "${" in raw:
        yield raw, value


def _remember(raw: Any, value: Any, key: str, from_resolvers: set[str]) -> None:
    """Keep how what came from a resolver was written, also by way of another key; numbers are no secrets."""
    if isinstance(raw, dict) and isinstance(value, dict):
        for name, part in raw.items():
            _remember(part, value.get(name), f"{key}.{name}".lstrip("."), from_resolvers)
    elif isinstance(raw, list) and isinstance(value, list):
        for place, part in enumerate(raw):
            _remember(part, value[place], f"{key}.{place}", from_resolvers)
    elif isinstance(raw, str) and "${" in raw and isinstance(value, str | list | dict):
        text = _as_json(value)
        if RESOLVER.search(raw) or any(_as_json(one)[1:-1] in text for one in from_resolvers):
            _written.setdefault(key, {})[text] = raw


def _as_json(value: Any) -> str:
    return json.dumps(value, sort_keys=True, default=str)


def _withheld() -> dict[str, str]:
    found: dict[str, str] = json.loads(os.environ.get(WITHHELD, "{}"))
    return found
