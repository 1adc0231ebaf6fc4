"""Runs as methods: those that differ in the seed of the training alone are one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from ppd_lightning.data.source import Source
from ppd_lightning.reports.run_results import Measured, RunResult
from ppd_lightning.settings.flat import flat
from ppd_lightning.storage.fingerprints import fingerprint
from ppd_lightning.training.settings import Trainer

GROUPS = ("data", "model", "user", "shots", "objective", "optimizer")
"""Their settings make a training what it is, with some of the trainer's, and with the rewards where these matter."""
SAMPLING = ("user_guidance_interval", "weights")
"""Settings of sampling that are part of a method: the times of user conditioning, and which weights."""

ORDER = ("ppd", "sft", "diffusion_dpo")
"""Objectives in the order of comparison, each against those after it; runs of one keep their order."""


@dataclass(frozen=True)
class Method:
    """One way to train and to sample.

    name: the shortest that differs from the others. runs: one a seed. evaluations: of each run, by guidance scale.
    """

    name: str
    settings: dict[str, Any]
    runs: list[RunResult]
    evaluations: list[dict[float, Measured]]

    @property
    def objective(self) -> str:
        """The training's."""
        return str(self.settings["objective.name"])

    @property
    def scales(self) -> list[float]:
        """The guidance scales at which every seed was evaluated."""
        return sorted(set.intersection(*(set(one) for one in self.evaluations)))

    @property
    def only_reward(self) -> str | None:
        """The reward, if all labels are by a single one; else None."""
        rewards = {key.split(".")[1] for key in self.settings if key.startswith("rewards.")}
        alone = self.settings["data.labels"] == "rewards" and len(rewards) == 1
        return rewards.pop() if alone else None


def settings_of(run: RunResult) -> dict[str, Any]:
    """The settings that a training's result depends on, by dotted key, without the seed."""
    values = run.settings
    kept = {group: values[group] for group in GROUPS if group in values}
    kept["data"] = {key: value for key, value in values["data"].items() if key not in Source.speed_keys}
    kept["trainer"] = {key: values["trainer"][key] for key in Trainer.result_keys if key in values["trainer"]}
    if values["data"]["labels"] == "rewards" or values["user"]["kind"] in ("clip", "reward"):
        kept["rewards"] = values["rewards"]
    return flat(kept)


def trained_alike(runs: Sequence[RunResult]) -> list[tuple[str, list[RunResult]]]:
    """Runs that differ in the seed alone, together under the name of their training."""
    found: dict[str, tuple[dict[str, Any], list[RunResult]]] = {}
    for run in runs:
        settings = settings_of(run)
        found.setdefault(fingerprint(settings), (settings, []))[1].append(run)
    alike = sorted(found.values(), key=lambda one: _rank(one[0]))
    names = _names([settings for settings, _ in alike])
    return [(name, sorted(members, key=lambda run: run.seed)) for name, (_, members) in zip(names, alike, strict=True)]


def methods_of(runs: Sequence[tuple[RunResult, Sequence[Measured]]]) -> list[Method]:
    """The methods of runs, with the compared evaluations of each; of several at one scale the largest."""
    found: dict[str, tuple[dict[str, Any], dict[str, tuple[RunResult, dict[float, Measured]]]]] = {}
    for run, evaluations in runs:
        for one in evaluations:
            drawn = one.settings["generation"]
            settings = settings_of(run) | {f"generation.{key}": drawn.get(key) for key in SAMPLING}
            if one.people:
                settings["generation.people"] = one.people
            _, members = found.setdefault(fingerprint(settings), (settings, {}))
            known = members.setdefault(run.folder.name, (run, {}))[1]
            if one.guidance not in known or len(known[one.guidance].rows) < len(one.rows):
                known[one.guidance] = one
    alike = sorted(found.values(), key=lambda one: _rank(one[0]))
    names = _names([settings for settings, _ in alike])
    methods = []
    for name, (settings, members) in zip(names, alike, strict=True):
        ordered = sorted(members.values(), key=lambda member: member[0].seed)
        methods.append(Method(name, settings, [run for run, _ in ordered], [by_scale for _, by_scale in ordered]))
    return methods


def _rank(settings: dict[str, Any]) -> int:
    """The number of a method's objective in `ORDER`."""
    name = settings["objective.name"]
    return ORDER.index(name) if name in ORDER else len(ORDER)


def _names(methods: Sequence[dict[str, Any]]) -> list[str]:
    """The objective of each; where several have the same, also what differs among these."""
    names = []
    for settings in methods:
        alike = [one for one in methods if one["objective.name"] == settings["objective.name"]]
        keys = sorted({key for one in alike for key in one if len({repr(each.get(key)) for each in alike}) > 1})
        rewards = sorted({key.split(".")[1] for key in settings if key.startswith("rewards.")})
        parts = [f"for {', '.join(rewards)}"] if any(key.startswith("rewards.") for key in keys) and rewards else []
        others = [key for key in keys if not key.startswith("rewards.")]
        parts += [f"{key} {settings.get(key, '-')}" for key in _distinguishing(others, alike)]
        names.append(" ".join([settings["objective.name"], ", ".join(parts)]).strip())
    return names


def _distinguishing(keys: Sequence[str], methods: Sequence[dict[str, Any]]) -> list[str]:
    """The keys that are enough to distinguish the methods: of those that always change together, the first alone."""
    kept: dict[tuple[str, ...], str] = {}
    for key in keys:
        values = [repr(one.get(key)) for one in methods]
        kept.setdefault(tuple(str(values.index(value)) for value in values), key)
    return list(kept.values())
