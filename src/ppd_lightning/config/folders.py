"""Folders whose names follow from the configuration, so that the same command finds them again."""

from __future__ import annotations

import dataclasses
from collections.abc import Collection
from pathlib import Path
from typing import Any

from ppd_lightning.config.root import Config
from ppd_lightning.rewards.settings import RewardSettings
from ppd_lightning.storage.fingerprints import fingerprint


def data_folder(config: Config) -> Path:
    """`{output}/data/{name}-{hash}`: a source and what is computed of its images and captions."""
    source = config.data
    settings = _fields(source, without=("labels", *source.split_keys, *source.speed_keys, *source.idle_keys))
    return Path(config.output) / "data" / f"{source.name}-{fingerprint(settings)}"


def splits_folder(config: Config) -> Path:
    """`splits-{hash}` in the data folder: people's pairs in one choice of splits, and what is made of them."""
    choice = {key: getattr(config.data, key) for key in config.data.split_keys}
    return data_folder(config) / f"splits-{fingerprint(choice)}"


def run_folder(config: Config) -> Path:
    """`{output}/runs/{objective}-{user}-{hash}`: one training and everything that is made with its result."""
    settings = {
        "data": _fields(config.data, without=(*config.data.speed_keys, *config.data.idle_keys)),
        "model": config.model,
        "user": config.user,
        "shots": config.shots if config.user.by_shots else None,
        "objective": config.objective,
        "optimizer": config.optimizer,
        "trainer": {key: getattr(config.trainer, key) for key in config.trainer.result_keys},
        "seed": config.seed,
    }
    if rewards_used(config):
        settings["rewards"] = rewards_used(config)
    name = f"{config.objective.name}-{config.user.kind}-{fingerprint(settings)}"
    return Path(config.output) / "runs" / name


def rewards_used(config: Config) -> dict[str, RewardSettings]:
    """The rewards, by name, that results depend on: those that label the pairs, else those that describe users."""
    return rewards_that_label(config) or config.user.rewards_used(config.rewards)


def rewards_that_label(config: Config) -> dict[str, RewardSettings]:
    """The rewards, by name, that are synthetic users: all but those that only score images; none where people label."""
    if config.data.labels == "people":
        return {}
    return {name: reward for name, reward in config.rewards.items() if name not in config.evaluation.rewards}


def sweep_folder(output: str, verbs: list[str], overrides: list[str]) -> Path:
    """`{output}/sweeps/{hash}`: the table of one multirun's runs."""
    return Path(output) / "sweeps" / fingerprint({"verbs": verbs, "overrides": overrides})


def _fields(value: Any, *, without: Collection[str]) -> dict[str, Any]:
    return {field.name: getattr(value, field.name) for field in dataclasses.fields(value) if field.name not in without}
