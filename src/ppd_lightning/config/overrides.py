"""Overrides of the command line, each looked at on its own, and the runs that a sweep over them means."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path

from hydra.core.config_store import ConfigStore
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import IntervalSweep, Override, OverrideType
from hydra.core.plugins import Plugins
from hydra.errors import HydraException
from omegaconf import DictConfig, OmegaConf

from ppd_lightning.config.groups import LIST_GROUPS, OF_HYDRA, options
from ppd_lightning.errors import UserError

NULLABLE_GROUPS = ("experiment", "sweep")


@dataclass(frozen=True)
class ParsedOverride:
    """One override that Hydra can take.

    text: as it was given; key: what it sets; for_hydra: the same, with leave to set any key, so that an unknown one is
    found by the check of the whole, together with those that come from files; is_choice: whether it chooses a group's
    option.
    """

    text: str
    key: str
    for_hydra: str
    is_choice: bool = False


def parse_overrides(overrides: Sequence[str], config_dir: Path | None = None) -> tuple[list[ParsedOverride], list[str]]:
    """The sound ones of the overrides, and what is wrong with the others."""
    known: dict[str, Mapping[str, object]] = {**{group: {} for group in OF_HYDRA}, **options(config_dir)}
    sound, faults = [], []
    for text, override, fault in map(_parse, overrides):
        if override is None:
            faults.append(fault)
            continue
        key = override.key_or_group
        if override.is_sweep_override():
            faults.append(f"{text}: several values make a sweep; give -m as well, or quote the value")
        elif key in known:
            choice_faults = _choice_faults(override, known, config_dir)
            faults.extend(choice_faults)
            if not choice_faults:
                sound.append(ParsedOverride(text, key, text, is_choice=True))
        elif key.split(".")[0].split("/")[0] == "hydra" or override.type is not OverrideType.CHANGE:
            sound.append(ParsedOverride(text, key, text))
        elif "/" in key or override.package is not None:
            faults.append(f"{text}: there is no group {key}{nearest(key, known)} (the groups are {', '.join(known)})")
        else:
            sound.append(ParsedOverride(text, key, f"++{text}"))
    return sound, faults


def sweep_runs(overrides: Sequence[str], presets: Sequence[str] = ()) -> list[list[str]]:
    """The runs of a sweep: every combination of the values, the last one changing fastest.

    Args:
        overrides: of the command line.
        presets: those of a preset of `conf/sweep`, over which the command line has the last word, key by key.

    Raises:
        UserError: an override cannot be read, or sweeps over an interval without saying which values.
    """
    faults = []
    values: dict[str, list[str]] = {}
    for text, override, fault in map(_parse, [*presets, *overrides]):
        if override is None:
            faults.append(fault)
        elif not override.is_sweep_override():
            values[override.get_key_element()] = [text]
        elif override.key_or_group.partition(".")[0] in ("sweep", "hydra") or "/" in override.key_or_group:
            faults.append(f"{text}: says how the sweep is run, and has one value; give a command for each")
        elif override.is_discrete_sweep():
            key = override.get_key_element()
            values[key] = [f"{key}={value}" for value in override.sweep_string_iterator()]
        else:
            faults.append(
                f"{text}: an interval has no values to try one after the other; list them, use range(...), or let "
                "hydra/sweeper=optuna choose them"
            )
    if faults:
        raise UserError(faults)
    return [list(run) for run in itertools.product(*values.values())]


def examples(overrides: Sequence[str], presets: Sequence[str] = ()) -> list[list[str]]:
    """Runs that try every listed value, and the ends of every interval and range, one swept key at a time.

    What a sweeper that chooses values by itself can choose is looked at by these before it begins.

    Raises:
        UserError: an override cannot be read.
    """
    faults = []
    values: dict[str, list[str]] = {}
    for text, override, fault in map(_parse, [*presets, *overrides]):
        if override is None:
            faults.append(fault)
            continue
        key = override.get_key_element()
        values[key] = [text]
        interval = override.value()
        if isinstance(interval, IntervalSweep):
            values[key] = [f"{key}={end}" for end in (interval.start, interval.end)]
        elif override.is_sweep_override():
            listed = [f"{key}={value}" for value in override.sweep_string_iterator()]
            values[key] = [listed[0], listed[-1]] if override.is_range_sweep() else listed
    if faults:
        raise UserError(faults)
    first = {key: texts[0] for key, texts in values.items()}
    others = [{**first, key: text} for key, texts in values.items() for text in texts[1:]]
    return [list(run.values()) for run in (first, *others)]


def fixed(overrides: Sequence[str]) -> list[str]:
    """The overrides that have one value."""
    parsed = [(text, override) for text, override, _ in map(_parse, overrides)]
    return [text for text, override in parsed if override is not None and not override.is_sweep_override()]


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


def _choice_faults(override: Override, known: Mapping[str, Mapping[str, object]], config_dir: Path | None) -> list[str]:
    group, choice = override.key_or_group, override.value()
    choices = [*dict.fromkeys([*known[group], *_installed(group)])]
    if group in LIST_GROUPS and isinstance(choice, list) and not override.is_delete():
        return [_no_such_option(group, one, choices) for one in choice if one not in choices]
    if override.is_delete():
        return [f"{override.input_line}: the group {group} cannot be left out; choose one of {', '.join(choices)}"]
    if choice is None and group in NULLABLE_GROUPS:
        return []
    if not isinstance(choice, str):
        remedy = f"choose one of {', '.join(choices)}, or set {group.replace('/', '.')}.KEY=VALUE"
        if group in LIST_GROUPS:
            remedy = f"choose any of {', '.join(choices)}, as {group}=[A,B]"
        return [f"{override.input_line}: {group} is a group; {remedy}"]
    for needed, name in _built_on(group, choice, config_dir):
        extra = OF_HYDRA.get(needed, {}).get(name)
        if extra and name not in _installed(needed):
            return [f'{group}={choice}: needs a package that is missing; pip install "ppd-lightning[{extra}]"']
    if choice in choices:
        return []
    return [_no_such_option(group, choice, choices)]


def _installed(group: str) -> list[str]:
    """What Hydra and the plugins that are there bring for a group of Hydra's; nothing for our own."""
    if group not in OF_HYDRA:
        return []
    Plugins.instance()  # each plugin says what it brings
    return [name.removesuffix(".yaml") for name in ConfigStore.instance().list(group)]


def _built_on(group: str, choice: str, config_dir: Path | None) -> Iterator[tuple[str, str]]:
    """An option (group, name) and those that its file names in its defaults, and theirs."""
    yield group, choice
    file = options(config_dir).get(group, {}).get(choice)
    if file is None or ("hydra" not in file.parts and "hydra" not in file.read_text(encoding="utf-8")):
        return  # almost all, which need not be read for this
    values = OmegaConf.load(file)
    for parent in values.get("defaults", []) if isinstance(values, DictConfig) else ():
        if isinstance(parent, str) and parent not in (choice, "_self_"):
            yield from _built_on(group, parent, config_dir)
        elif isinstance(parent, DictConfig):
            yield from ((str(key).removeprefix("override /"), str(name)) for key, name in parent.items())


def _no_such_option(group: str, choice: object, choices: Sequence[str]) -> str:
    return f"{group}={choice}: no such option{nearest(str(choice), choices)} (the options are {', '.join(choices)})"
