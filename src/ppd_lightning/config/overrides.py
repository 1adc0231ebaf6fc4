"""Overrides of the command line, each looked at on its own, and the runs that a sweep over them means."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override, OverrideType
from hydra.errors import HydraException

from ppd_lightning.config.groups import LIST_GROUPS, options
from ppd_lightning.run.errors import UserError

NULLABLE_GROUPS = ("experiment",)


@dataclass(frozen=True)
class ParsedOverride:
    """One override that Hydra can take.

    text: as it was given; key: what it sets; for_hydra: the same, with leave to set any key, so that an unknown one is
    found by the check of the whole, together with those that come from files.
    """

    text: str
    key: str
    for_hydra: str


def parse_overrides(overrides: Sequence[str], config_dir: Path | None = None) -> tuple[list[ParsedOverride], list[str]]:
    """The sound ones of the overrides, and what is wrong with the others."""
    known = options(config_dir)
    sound, faults = [], []
    for text, override, fault in map(_parse, overrides):
        if override is None:
            faults.append(fault)
            continue
        key = override.key_or_group
        if override.is_sweep_override():
            faults.append(f"{text}: several values make a sweep; give -m as well, or quote the value")
        elif key in known:
            choice_faults = _choice_faults(override, known)
            faults.extend(choice_faults)
            if not choice_faults:
                sound.append(ParsedOverride(text, key, text))
        elif key.split(".")[0].split("/")[0] == "hydra" or override.type is not OverrideType.CHANGE:
            sound.append(ParsedOverride(text, key, text))
        elif "/" in key or override.package is not None:
            faults.append(f"{text}: there is no group {key}{nearest(key, known)} (the groups are {', '.join(known)})")
        else:
            sound.append(ParsedOverride(text, key, f"++{text}"))
    return sound, faults


def sweep_runs(overrides: Sequence[str]) -> list[list[str]]:
    """The runs that Hydra's basic sweeper makes of the overrides: every combination, the last one changing fastest.

    Raises:
        UserError: an override cannot be read, or sweeps over an interval without saying which values.
    """
    faults = []
    values: dict[str, list[str]] = {}
    for text, override, fault in map(_parse, overrides):
        if override is None:
            faults.append(fault)
        elif not override.is_sweep_override():
            values[override.get_key_element()] = [text]
        elif override.is_discrete_sweep():
            key = override.get_key_element()
            values[key] = [f"{key}={value}" for value in override.sweep_string_iterator()]
        else:
            faults.append(f"{text}: an interval has no values to try one after the other; list them, or use range(...)")
    if faults:
        raise UserError(faults)
    return [list(run) for run in itertools.product(*values.values())]


def nearest(name: str, known: Mapping[str, object] | Sequence[str]) -> str:
    """`; did you mean ...?` where something is close to `name`, else nothing."""
    close = get_close_matches(name, list(known), n=1, cutoff=0.6)
    return f"; did you mean {close[0]}?" if close else ""


def _parse(text: str) -> tuple[str, Override | None, str]:
    try:
        return text, OverridesParser.create().parse_override(text), ""
    except HydraException as error:
        reason = " ".join(str(error).split())
        return text, None, f"{text}: cannot be read as key=value ({reason}); quote what is special"


def _choice_faults(override: Override, known: Mapping[str, Mapping[str, Path]]) -> list[str]:
    group, choice = override.key_or_group, override.value()
    choices = known[group]
    if group in LIST_GROUPS and isinstance(choice, list) and not override.is_delete():
        return [_no_such_option(group, one, choices) for one in choice if one not in choices]
    if override.is_delete():
        return [f"{override.input_line}: the group {group} cannot be left out; choose one of {', '.join(known[group])}"]
    if choice is None and group in NULLABLE_GROUPS:
        return []
    if isinstance(choice, str) and choice in choices:
        return []
    if isinstance(choice, str):
        return [_no_such_option(group, choice, choices)]
    if group in LIST_GROUPS:
        return [f"{override.input_line}: {group} is a group; choose any of {', '.join(choices)}, as {group}=[A,B]"]
    return [f"{override.input_line}: {group} is a group; choose one of {', '.join(choices)}, or set {group}.KEY=VALUE"]


def _no_such_option(group: str, choice: object, choices: Mapping[str, Path]) -> str:
    return f"{group}={choice}: no such option{nearest(str(choice), choices)} (the options are {', '.join(choices)})"
