"""A configuration from Python: a shipped preset, and what is changed of it, as objects and values instead of text."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ppd_lightning.config.compose import changed_values
from ppd_lightning.config.root import Config
from ppd_lightning.config.validation import check
from ppd_lightning.errors import UserError

OPTION = "option"
"""The key of a change that names another shipped option of its group."""


def configuration(preset: str | None, changes: Mapping[str, Any]) -> Config:
    """The shipped values, those of a preset over them, and the changes over these.

    Args:
        preset: an option of `conf/experiment`; None takes the defaults of `conf/config.yaml`.
        changes: by group or key. Of a group either an object of its class, or settings by name, among which `option`
            names the shipped option that the other settings change. Else a value, such as that of seed.

    Raises:
        UserError: with one message for each fault.
    """
    overrides = [] if preset is None else [f"experiment={preset}"]
    own: dict[str, Any] = {}
    for name, change in changes.items():
        if isinstance(change, Mapping):
            option, own[name] = change.get(OPTION), {key: _plain(change[key]) for key in change if key != OPTION}
            if option is not None:
                overrides.append(f"{name}={option if isinstance(option, str) else _listed(option)}")
            if option is not None and not own[name]:
                del own[name]
        elif dataclasses.is_dataclass(change) and not isinstance(change, type):
            own[name] = dataclasses.asdict(change)
        else:
            own[name] = _plain(change)
    config, faults = check(changed_values(overrides, own))
    if config is None:
        raise UserError(faults)
    return config


def _plain(value: Any) -> Any:
    """A value as files have it: a path as text, a tuple as a list."""
    return str(value) if isinstance(value, Path) else list(value) if isinstance(value, tuple) else value


def _listed(options: Sequence[str]) -> str:
    return f"[{','.join(options)}]"
