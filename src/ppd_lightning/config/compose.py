"""From Hydra overrides to a checked `Config`, or to every fault at once."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any

from hydra import compose as hydra_compose
from hydra import initialize_config_dir
from hydra.core.global_hydra import GlobalHydra
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from ppd_lightning.config.groups import conf_folder
from ppd_lightning.config.interpolations import too_large
from ppd_lightning.config.later_keys import with_later_keys
from ppd_lightning.config.launch_limits import launch_faults
from ppd_lightning.config.origins import Origins
from ppd_lightning.config.overrides import ParsedOverride, parse_overrides
from ppd_lightning.config.root import Config
from ppd_lightning.config.stored import resolved_values, stored_values
from ppd_lightning.config.trusted import require_trusted, trust_options
from ppd_lightning.config.typed import quoted
from ppd_lightning.config.validation import check
from ppd_lightning.errors import UserError
from ppd_lightning.storage.yaml_files import read_yaml

NOTHING_NEW = 3
"""Faulty runs of a sweep in succession without another fault, after which the others are not looked at."""
LATER_GROUPS = ("studio", "export")
"""Groups that runs of earlier versions lack."""
NO_CHANGES: Mapping[str, Any] = MappingProxyType({})


@dataclass(frozen=True)
class Composed:
    """The configuration of one run of a sweep, and the settings of the launcher that is to start it.

    What the launcher takes from the run, as in `tasks_per_node: ${trainer.devices}`, stands there as a value.
    """

    config: Config
    launcher: dict[str, Any]


@contextmanager
def hydra_started() -> Iterator[None]:
    """Hydra with the shipped options; nothing new inside of another such block, for Hydra starts only once."""
    if GlobalHydra.instance().is_initialized():
        yield
        return
    with initialize_config_dir(str(conf_folder()), version_base="1.3"):
        yield


def compose(overrides: Sequence[str] = (), config_dir: Path | None = None) -> Config:
    """The configuration that `conf/` and the overrides make.

    Args:
        overrides: as on the command line, for example `["experiment=paper/real", "objective.beta=0.5"]`.
        config_dir: a further folder of options, beside the shipped ones.

    Raises:
        UserError: with one message for each fault of the overrides and of the chosen files.
    """
    presets = [text for text in overrides if text.startswith("sweep=") and text != "sweep=null"]
    if presets:
        raise UserError(f"{text}: stands for several runs; give -m as well" for text in presets)
    _require_folder(config_dir)
    with hydra_started():
        return _compose(overrides, config_dir, swept=False).config


def compose_each(combinations: Iterable[Sequence[str]], config_dir: Path | None = None) -> list[Config]:
    """As `compose`, for every run of a sweep; a fault that several runs share is named once."""
    return [run.config for run in compose_runs(combinations, config_dir)]


def compose_runs(combinations: Iterable[Sequence[str]], config_dir: Path | None = None) -> list[Composed]:
    """As `compose_each`, with each run's launcher."""
    _require_folder(config_dir)
    runs: list[Composed] = []
    faults: dict[str, None] = {}
    known = 0
    with hydra_started():
        for overrides in combinations:
            try:
                runs.append(_compose(overrides, config_dir, swept=True))
            except UserError as error:
                known = known + 1 if faults.keys() >= set(error.faults) else 0
                faults.update(dict.fromkeys(error.faults))
                if known == NOTHING_NEW:
                    break  # of thousands of runs with one fault a few are enough
    if faults:
        raise UserError(faults)
    return runs


def sweeper_of(overrides: Sequence[str], config_dir: Path | None = None) -> tuple[dict[str, Any], Origins]:
    """The settings of the sweeper that the overrides choose, with what a preset sweeps in `params`, and their files.

    Faults of the overrides are left for `compose_runs` to tell.
    """
    _require_folder(config_dir)
    with hydra_started():
        parsed, _ = parse_overrides(overrides, config_dir)
        composed, _ = _compose_sound(parsed, config_dir)
    if composed is None:
        return {}, Origins({}, ())
    settings = OmegaConf.to_container(composed.hydra.sweeper)
    assert isinstance(settings, dict)
    origins = Origins(composed.hydra.runtime.choices, (), config_dir)
    return {str(key): value for key, value in settings.items()}, origins


def changed_values(overrides: Sequence[str], changes: Mapping[str, Any]) -> dict[str, Any]:
    """The nested values that `conf/`, the overrides and changes make, not checked yet; Hydra that others started stays.

    Args:
        changes: by key of the root; the values of a mapping change those of a group.

    Raises:
        UserError: with one message for each fault of the overrides, or a value is of no kind that a file can hold.
    """
    theirs = GlobalHydra.instance().hydra
    GlobalHydra.instance().clear()
    try:
        with hydra_started():
            parsed, faults = parse_overrides(overrides, None)
            composed, more = _compose_sound(parsed, None)
    finally:
        GlobalHydra.instance().hydra = theirs
    faults += more
    if composed is None or faults:
        raise UserError(faults)
    values, faults = _resolved(composed, changes)
    if faults:
        raise UserError(faults)
    return values


def read_config(path: Path, *, complete: bool = True, of_others: bool = False) -> Config:
    """The configuration that a run's `config.yaml` holds.

    Args:
        complete: whether a text that follows from an environment variable which is not set is a fault; else it stays
            as it is written.
        of_others: whether somebody else may have written it; then it chooses nothing that is imported.

    Raises:
        UserError: the file is missing, is no YAML, or does not fit this version's keys.
    """
    node = read_yaml(path)
    if not isinstance(node, DictConfig):
        raise UserError(f"{path}: holds no configuration")
    values, faults = _resolved(node)
    if complete and faults:
        raise UserError(f"{path}: {fault}; set it as where this file was written" for fault in faults)
    if of_others:
        require_trusted(path, values)
    config, faults = check(of_this_version(values))
    if config is None:
        raise UserError(f"{path}: {fault}" for fault in faults)
    return config


def of_this_version(values: Mapping[str, Any]) -> dict[str, Any]:
    """A run's stored values, with the keys and groups that came later; no result depends on those groups."""
    values = with_later_keys(values)
    absent = [group for group in LATER_GROUPS if group not in values]
    if not absent:
        return values
    shipped = asdict(compose())
    return {**values, **{group: shipped[group] for group in absent}}


def as_yaml(config: Config) -> str:
    """The configuration as YAML that `read_config` takes back, without secrets (`config.stored`)."""
    return OmegaConf.to_yaml(OmegaConf.create(stored_values(config)))


def search_path(config_dir: Path | None) -> list[str]:
    """The override that lets Hydra find the options of a further folder."""
    if config_dir is None:
        return []
    source = f"ppd://{config_dir.resolve()}"  # of `hydra_plugins`; what follows is taken as a path, without unquoting
    return [f"hydra.searchpath=[{quoted(source)}]"]


def _require_folder(config_dir: Path | None) -> None:
    if config_dir is not None and not config_dir.is_dir():
        raise UserError(f"--config-dir: there is no folder {config_dir}")
    if config_dir is not None:
        trust_options(config_dir)


def _compose(overrides: Sequence[str], config_dir: Path | None, *, swept: bool) -> Composed:
    parsed, faults = parse_overrides(overrides, config_dir)
    composed, more = _compose_sound(parsed, config_dir)
    faults += more
    if composed is None:
        raise UserError(faults)
    values, more = _resolved(composed)
    faults += more
    given = [override.key for override in parsed if not override.is_choice]
    origins = Origins(composed.hydra.runtime.choices, given, config_dir)
    launcher: dict[str, Any] = {}
    if swept:
        launcher, more = _launcher(composed)
        faults += [*more, *launch_faults("launcher", launcher)]
    config, more = check(values, origins, {f"hydra.launcher.{key}": value for key, value in launcher.items()})
    unresolved = {fault.partition(":")[0] for fault in faults}
    faults += [fault for fault in more if fault.partition(":")[0] not in unresolved]
    if config is None or faults:
        raise UserError(faults)
    return Composed(config, launcher)


def _launcher(composed: DictConfig) -> tuple[dict[str, Any], list[str]]:
    """The launcher's settings; what they take from Hydra itself is left to Hydra, in each process anew."""
    node = OmegaConf.select(composed, "hydra.launcher")
    if not isinstance(node, DictConfig):
        return {}, ["hydra.launcher: a chosen option takes its settings away; leave `hydra` out of the option"]
    raw = OmegaConf.to_container(node)
    assert isinstance(raw, dict)
    settings = {str(key): value for key, value in raw.items()}
    faults = []
    for key, value in settings.items():
        if isinstance(value, str) and "${" in value and "${hydra" not in value:
            try:
                settings[key] = node[key]
            except OmegaConfBaseException as error:
                faults.append(f"hydra.launcher.{key}: {str(error).splitlines()[0]}")
    return settings, faults


def _compose_sound(overrides: list[ParsedOverride], config_dir: Path | None) -> tuple[DictConfig | None, list[str]]:
    """Compose with all overrides or, where Hydra refuses that, with those that it takes on their own."""
    composed, reason = _compose_with(overrides, config_dir)
    if composed is not None:
        return composed, []
    # A setting is looked at beside the choices of groups, which say what keys there are.
    choices = [override for override in overrides if override.is_choice]
    faulty = _faulty(choices, [], config_dir)
    choices = [choice for choice in choices if choice not in faulty]
    faulty |= _faulty([override for override in overrides if not override.is_choice], choices, config_dir)
    faults = [f"{override.text}: {faulty[override]}" for override in overrides if override in faulty]
    composed, more = _compose_with([override for override in overrides if override not in faulty], config_dir)
    if composed is None:
        faults = [more]
    return composed, faults or [reason]


def _faulty(
    overrides: list[ParsedOverride], beside: list[ParsedOverride], config_dir: Path | None
) -> dict[ParsedOverride, str]:
    """Those of the overrides that Hydra does not take, with its reasons, found by halves: composing takes long."""
    if not overrides:
        return {}
    result, why = _compose_with([*beside, *overrides], config_dir)
    if result is not None:
        return {}
    if len(overrides) == 1:
        return {overrides[0]: why}
    half = len(overrides) // 2
    return _faulty(overrides[:half], beside, config_dir) | _faulty(overrides[half:], beside, config_dir)


def _compose_with(overrides: list[ParsedOverride], config_dir: Path | None) -> tuple[DictConfig | None, str]:
    texts = [override.for_hydra for override in overrides] + search_path(config_dir)
    try:
        return hydra_compose("config", overrides=texts, return_hydra_config=True), ""
    except Exception as error:  # what Hydra raises at a folder of options that it was not made for is anything
        return None, _reason(error)


def _reason(error: BaseException) -> str:
    """The words of the first one of a chain of exceptions that says something."""
    words = " ".join(str(error).split("Config search path:")[0].split())
    if error.__cause__ is None or (words and not words.startswith("Error merging override")):
        return words or type(error).__name__
    return _reason(error.__cause__)


def _resolved(composed: DictConfig, changes: Mapping[str, Any] = NO_CHANGES) -> tuple[dict[str, Any], list[str]]:
    """The values without Hydra's own, changed, interpolations replaced by what they point to."""
    values = OmegaConf.to_container(composed)
    assert isinstance(values, dict)
    own = {str(key): value for key, value in values.items() if key != "hydra"}
    for key, change in changes.items():
        of_group = isinstance(change, Mapping) and isinstance(own.get(key), dict)
        own[key] = own[key] | dict(change) if of_group else change
    faults = too_large(own)
    if faults:
        return own, faults
    resolved, unresolved = resolved_values(OmegaConf.create(own))
    return resolved, [f"{key}: {why}" for key, why in unresolved]
