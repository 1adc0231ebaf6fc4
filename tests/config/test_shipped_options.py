"""Every option that ships composes, says how it is used, and is complete."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest

from ppd_lightning.commands.verbs import VERBS
from ppd_lightning.config.compose import as_yaml, compose, read_config
from ppd_lightning.config.groups import conf_folder, options
from ppd_lightning.config.keys import _known_keys, known_keys
from ppd_lightning.config.root import Config

FILES = sorted(conf_folder().rglob("*.yaml"))
FOR_SWEEPS = ("sweep", "hydra/launcher")
"""Groups that only a sweep can choose of, looked at in test_sweeps.py."""
CHOICES = [f"{group}={option}" for group, known in options().items() if group not in FOR_SWEEPS for option in known]
NEEDED = {
    "data=pickapic": ["data.root=folder", "data.image_size=64"],
    "data=folder": ["data.table=pairs.csv", "data.image_size=64"],
    "data=hpdv2": ["data.table=test.json", "data.image_size=64"],
    "data=imagereward": ["data.table=metadata-train.parquet", "data.image_size=64"],
    "data=pamela": ["data.table=ratings.parquet", "data.image_size=64"],
    "data=votes": ["data.table=votes.parquet", "data.image_size=64"],
    "experiment=emoji/own": ["data.table=pairs.csv"],
    "user=one_hot": ["data.labels=rewards"],
    "user=stated": ["user.texts=texts.json"],
    "experiment=paper/real": ["data.root=folder"],
    "experiment=paper/synthetic": ["data.root=folder"],
    "experiment=sdxl/real": ["data.root=folder"],
    "experiment=sdxl/synthetic": ["data.root=folder"],
    "experiment=sd35/real": ["data.root=folder"],
}


@pytest.mark.parametrize("choice", CHOICES)
def test_it_composes(choice: str) -> None:
    assert isinstance(compose([choice, *NEEDED.get(choice, [])]), Config)


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(conf_folder())))
def test_it_begins_with_a_command_of_ppd(path: Path) -> None:
    lines = [line for line in path.read_text().splitlines() if not line.startswith("# @package")]
    assert lines[0].startswith("# ")
    words = next(line for line in lines if "ppd " in line).split("ppd ", 1)[1].split()
    assert words[0] in VERBS or words[0] == "<verb>..."


def test_every_group_has_a_schema_and_every_key_its_meaning() -> None:
    groups = {field.name for field in dataclasses.fields(Config)}
    assert set(options()) - {"experiment", "reward", *FOR_SWEEPS} == groups - {"seed", "output", "rewards"}
    assert [key.name for key in known_keys().values() if not key.meaning] == []


def test_a_changed_group_keeps_the_meanings() -> None:
    """pydantic loses the docstrings of a dataclass that it builds late, by itself."""
    dataclasses.replace(compose([]).model, path="other")
    _known_keys.cache_clear()
    assert [key.name for key in known_keys().values() if not key.meaning] == []


def test_a_written_configuration_is_read_back_as_it_was(tmp_path: Path) -> None:
    config = compose(["experiment=emoji/sft", "generation.captions=[red apple,'1']", "optimizer.lr=1e-5"])
    (tmp_path / "config.yaml").write_text(as_yaml(config))
    assert read_config(tmp_path / "config.yaml") == config
