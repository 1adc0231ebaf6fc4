"""Overrides of the command line, each looked at on its own, and the runs that a sweep over them means.

How their values are written is in `typed`.
"""

from __future__ import annotations

import itertools
import json
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from difflib import get_close_matches
from pathlib import Path
from typing import Any

from hydra.core.config_store import ConfigStore
from hydra.core.override_parser.types import Glob, IntervalSweep, Override, OverrideType, RangeSweep
from hydra.core.plugins import Plugins
from omegaconf import DictConfig, ListConfig

from ppd_lightning.config.groups import LIST_GROUPS, OF_HYDRA, options
from ppd_lightning.config.typed import UnreadableError, read_override
from ppd_lightning.errors import UserError
from ppd_lightning.settings.flat import flat
from ppd_lightning.storage.yaml_files import read_yaml, yaml_text

NULLABLE_GROUPS = ("experiment", "sweep")
MOST_RUNS = 1_000
"""Runs of one sweep; Slurm's arrays have as many jobs (MaxArraySize)."""


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
    sound: list[ParsedOverride] = []
    faults: list[str] = []
    for text in overrides:
        in_grammar, override, fault = _parse(text, several=False, config_dir=config_dir)
        if override is None:
            faults.append(fault)
            continue
        key = override.key_or_group
        if override.is_sweep_override():
            faults.append(f"{text}: several values make a sweep; give -m as well, or quote the value")
        elif key in known:
            sound = [one for one in sound if not (one.is_choice and one.key == key)]  # the last one counts
            if override.value() is None and key in NULLABLE_GROUPS and not override.is_delete():
                continue  # none is chosen, as where nothing is said
            choice_faults = _choice_faults(override, known, config_dir)
            faults.extend(choice_faults)
            if not choice_faults:
                sound.append(ParsedOverride(text, key, in_grammar, is_choice=True))
        elif "/" in key or override.package is not None:
            faults.append(f"{text}: there is no group {key}{nearest(key, known)} (the groups are {', '.join(known)})")
        elif not key:
            faults.append(f"{text}: the key is missing; write key=value")
        elif key.startswith("hydra.") or override.type is not OverrideType.CHANGE:
            sound.append(ParsedOverride(text, key, in_grammar))
        else:
            sound.append(ParsedOverride(text, key, f"++{in_grammar}"))
    return sound, faults


def sweep_runs(
    overrides: Sequence[str], presets: Sequence[str] = (), config_dir: Path | None = None
) -> list[list[str]]:
    """The runs of a sweep: every combination of the values, the last one changing fastest.

    Args:
        overrides: of the command line.
        presets: those of a preset of `conf/sweep`, over which the command line has the last word, key by key.
        config_dir: a further folder of options.

    Raises:
        UserError: an override cannot be read, sweeps over an interval without saying which values, or there are too
            many runs.
    """
    faults = []
    values: dict[str, list[str]] = {}
    for text in [*presets, *overrides]:
        in_grammar, override, fault = _parse(text, several=True, config_dir=config_dir)
        if override is None:
            faults.append(fault)
        elif not override.is_sweep_override():
            values[override.get_key_element()] = [in_grammar]
        elif override.key_or_group.partition(".")[0] in ("sweep", "hydra") or "/" in override.key_or_group:
            faults.append(f"{text}: says how the sweep is run, and has one value; give a command for each")
        elif override.is_discrete_sweep():
            key = override.get_key_element()
            listed, fault = _listed(text, override, config_dir)
            values[key] = [f"{key}={value}" for value in listed]
            faults.extend([fault] if fault else [])
        else:
            faults.append(
                f"{text}: an interval has no values to try one after the other; list them, use range(...), or let "
                "hydra/sweeper=optuna choose them"
            )
    count = math.prod(map(len, values.values()))
    if count > MOST_RUNS and not faults:
        swept = " x ".join(f"{len(texts):,} of {key}" for key, texts in values.items() if len(texts) > 1)
        faults = [f"-m: {count:,} runs ({swept}) are more than {MOST_RUNS:,}; sweep over fewer values at a time"]
    if faults:
        raise UserError(faults)
    return [list(run) for run in itertools.product(*values.values())]


def examples(overrides: Sequence[str], presets: Sequence[str] = (), config_dir: Path | None = None) -> list[list[str]]:
    """Runs that try every listed value, and the ends of every interval and range, one swept key at a time.

    What a sweeper that chooses values by itself can choose is looked at by these before it begins.

    Raises:
        UserError: an override cannot be read, or holds no values.
    """
    faults = []
    values: dict[str, list[str]] = {}
    for text in [*presets, *overrides]:
        in_grammar, override, fault = _parse(text, several=True, config_dir=config_dir)
        if override is None:
            faults.append(fault)
            continue
        key = override.get_key_element()
        values[key] = [in_grammar]
        interval = override.value()
        if isinstance(interval, IntervalSweep):
            values[key] = [f"{key}={end}" for end in (interval.start, interval.end)]
        elif override.is_sweep_override():
            listed, fault = _listed(text, override, config_dir)
            faults.extend([fault] if fault else [])
            values[key] = [
                f"{key}={value}" for value in (listed[:1] + listed[-1:] if override.is_range_sweep() else listed)
            ]
    if faults:
        raise UserError(faults)
    first = {key: texts[0] for key, texts in values.items()}
    others = [{**first, key: text} for key, texts in values.items() for text in texts[1:]]
    return [list(run.values()) for run in (first, *others)]


def in_grammar(overrides: Sequence[str], config_dir: Path | None = None) -> list[str]:
    """The overrides as Hydra reads them, those that cannot be read left out."""
    read = (_parse(text, several=True, config_dir=config_dir) for text in overrides)
    return [text for text, override, _ in read if override is not None]


def presets_of(sweeper: Mapping[str, Any]) -> list[str]:
    """The overrides of a sweeper's `params`.

    Raises:
        UserError: they are no mapping of keys to values.
    """
    params = sweeper.get("params") or {}
    if not isinstance(params, Mapping):
        raise UserError(f"hydra.sweeper.params: must be a mapping of keys to values, not {params!r}")
    nested = flat({str(key): value for key, value in params.items()})  # seed, or optimizer: {lr: ...}
    return [f"{key}={_written(value)}" for key, value in nested.items()]


def _written(value: object) -> str:
    """A value as an override has it."""
    return value if isinstance(value, str) else json.dumps(value, separators=(",", ":"), default=str)


def fixed(overrides: Sequence[str], config_dir: Path | None = None) -> list[str]:
    """The overrides that have one value, as Hydra reads them."""
    read = (_parse(text, several=True, config_dir=config_dir) for text in overrides)
    return [text for text, override, _ in read if override is not None and not override.is_sweep_override()]


def nearest(name: str, known: Mapping[str, object] | Sequence[str]) -> str:
    """`; did you mean ...?` where something is close to `name`, else nothing."""
    close = get_close_matches(name, list(known), n=1, cutoff=0.6)
    return f"; did you mean {close[0]}?" if close else ""


def _parse(text: str, *, several: bool, config_dir: Path | None = None) -> tuple[str, Override | None, str]:
    """An override in Hydra's grammar, and what Hydra reads in it, or what is wrong with it."""
    try:
        in_grammar, override = read_override(text, several=several, config_dir=config_dir)
    except UnreadableError as error:
        return text, None, f"{_short(text)}: cannot be read as key=value ({error}); quote what is special"
    fault = _hydra_fault(override.key_or_group)
    return (in_grammar, None, f"{_short(text)}: {fault}") if fault else (in_grammar, override, "")


def _hydra_fault(key: str) -> str:
    """Why a key of Hydra itself cannot be set on the command line; empty where it can, and for all other keys."""
    if key.replace("/", ".").split(".")[0] != "hydra" or key in OF_HYDRA:
        return ""
    group, _, name = key.removeprefix("hydra.").partition(".")
    if name.split(".")[0] == "params" and group == "sweeper":
        return "what is swept is written as KEY=VALUE,VALUE, or in a file of the group sweep"
    if name == "_target_" and group in ("launcher", "sweeper"):
        return f"an option of hydra/{group} says what is started; choose one"
    if group in ("launcher", "sweeper") and name:
        return ""
    return "of Hydra itself only hydra.launcher and hydra.sweeper are used, one key of them at a time, with -m"


def _short(text: str) -> str:
    """The beginning of what is too long for a message."""
    return text if len(text) <= 200 else f"{text[:200]}..."


def _listed(text: str, override: Override, config_dir: Path | None) -> tuple[list[str], str]:
    """The values of a discrete sweep, or what is wrong with it."""
    values = override.value()
    if isinstance(values, Glob):
        names = options(config_dir).get(override.key_or_group)
        if names is None:
            return [], f"{text}: glob(...) chooses among the options of a group; list the values of a key"
        chosen = values.filter(list(names))
        return chosen, "" if chosen else f"{text}: no option fits (the options are {', '.join(names)})"
    if isinstance(values, RangeSweep):
        count = _count(values)
        if count is None or count > MOST_RUNS:
            many = "endlessly many" if count is None or count > 10**15 else f"{count:,}"
            return [], f"{text}: stands for {many} values, and a sweep has at most {MOST_RUNS:,} runs; use larger steps"
        if count == 0:
            return [], f"{text}: holds no value, for it begins at {values.start} and goes by {values.step}"
    try:
        return list(override.sweep_string_iterator()), ""
    except (TypeError, ValueError, ArithmeticError) as error:
        return [], f"{text}: cannot be listed ({error}); list the values"


def _count(values: RangeSweep) -> int | None:
    """How many values there are; None where they never end."""
    try:
        start, stop, step = (Decimal(str(number)) for number in (values.start, values.stop, values.step))
        if step == 0 or not all(number.is_finite() for number in (start, stop, step)):
            return None
        return max(0, math.ceil((stop - start) / step))
    except ArithmeticError:
        return None


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
    if file is None or ("hydra" not in file.parts and "hydra" not in _text(file)):
        return  # almost all, which need not be read for this
    try:
        values = read_yaml(file)
    except UserError:
        return  # composing says so
    parents = values.get("defaults", []) if isinstance(values, DictConfig) else []
    for parent in parents if isinstance(parents, ListConfig) else ():
        if isinstance(parent, str) and parent not in (choice, "_self_"):
            yield from _built_on(group, parent, config_dir)
        elif isinstance(parent, DictConfig):
            yield from ((str(key).removeprefix("override /"), str(name)) for key, name in parent.items())


def _text(file: Path) -> str:
    try:
        return yaml_text(file)
    except UserError:
        return ""  # composing says so


def _no_such_option(group: str, choice: object, choices: Sequence[str]) -> str:
    return f"{group}={choice}: no such option{nearest(str(choice), choices)} (the options are {', '.join(choices)})"
