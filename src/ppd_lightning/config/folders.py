"""Where things lie: folders whose names follow from the configuration, so that the same command finds them again."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

from ppd_lightning.config.schemas import ClipUser, Config, DescribedUser, Reward, RewardUser
from ppd_lightning.storage.fingerprints import fingerprint

NO_RESULT_KEYS_OF_DATA = ("max_unusable", "workers")
"""They change what is allowed or how fast it goes, not what comes out."""

KEYS_OF_SPLITS = ("validation", "min_pairs", "held_out_concepts", "held_out_captions", "unseen_users")
"""They decide which pairs are made and what each is for; what is computed of the images serves all choices."""

RESULT_KEYS_OF_TRAINER = ("max_steps", "batch_size", "precision", "reference")
"""The others change how fast a training goes or what it tells, not what comes out."""

ADAPTERS = {"trained": "adapter.safetensors", "ema": "adapter-ema.safetensors"}
"""Where a run keeps the weights that `generation.weights` names."""


def data_folder(config: Config) -> Path:
    """`{output}/data/{name}-{fingerprint}`: a source and what is computed of its images and captions."""
    source = {key: value for key, value in _data(config).items() if key not in ("labels", *KEYS_OF_SPLITS)}
    return Path(config.output) / "data" / f"{config.data.name}-{fingerprint(source)}"


def splits_folder(config: Config) -> Path:
    """`splits-{fingerprint}` in the data folder: people's pairs in one choice of splits, and what is made of them."""
    choice = {key: value for key, value in _data(config).items() if key in KEYS_OF_SPLITS}
    return data_folder(config) / f"splits-{fingerprint(choice)}"


def run_folder(config: Config) -> Path:
    """`{output}/runs/{objective}-{user}-{fingerprint}`: one training and everything that is made with its result."""
    trainer = _fields(config.trainer)
    settings = {
        "data": _data(config),
        "model": config.model,
        "user": config.user,
        "shots": config.shots if isinstance(config.user, DescribedUser) else None,
        "objective": config.objective,
        "optimizer": config.optimizer,
        "trainer": {key: trainer[key] for key in RESULT_KEYS_OF_TRAINER},
        "seed": config.seed,
    }
    if rewards_used(config):
        settings["rewards"] = rewards_used(config)
    name = f"{config.objective.name}-{config.user.kind}-{fingerprint(settings)}"
    return Path(config.output) / "runs" / name


def rewards_used(config: Config) -> dict[str, Reward]:
    """The rewards, by name, that results depend on: those that label the pairs, else those that describe users."""
    return rewards_that_label(config) or rewards_of_users(config)


def rewards_that_label(config: Config) -> dict[str, Reward]:
    """The rewards, by name, that are synthetic users: all but those that only score images; none where people label."""
    if config.data.labels == "people":
        return {}
    return {name: reward for name, reward in config.rewards.items() if name not in config.evaluation.rewards}


def rewards_of_users(config: Config) -> dict[str, Reward]:
    """The rewards, by name, by which users are described."""
    if isinstance(config.user, RewardUser):
        return config.rewards
    return {config.user.reward: config.rewards[config.user.reward]} if isinstance(config.user, ClipUser) else {}


def sweep_folder(output: str, verbs: list[str], overrides: list[str]) -> Path:
    """`{output}/sweeps/{fingerprint}`: the table of one multirun's runs."""
    return Path(output) / "sweeps" / fingerprint({"verbs": verbs, "overrides": overrides})


def _data(config: Config) -> dict[str, Any]:
    return {key: value for key, value in _fields(config.data).items() if key not in NO_RESULT_KEYS_OF_DATA}


def _fields(value: Any) -> dict[str, Any]:
    return {field.name: getattr(value, field.name) for field in dataclasses.fields(value)}
