"""The kinds of user who are described: each is a module of its own, imported when it is asked for.

R = rows, E = width of an embedding.
"""

from __future__ import annotations

import importlib
from collections.abc import Sequence
from typing import Protocol, cast

import numpy as np
import pyarrow as pa

from ppd_lightning.backbones.released import ReleasedModel
from ppd_lightning.config.schemas import Config, DescribedUser, StatedUser
from ppd_lightning.users.shots import ShotSet


class Kind(Protocol):
    """What the module users/{kind}.py has."""

    def describe(self, config: Config, model: ReleasedModel, pairs: pa.Table, sets: Sequence[ShotSet]) -> np.ndarray:
        """Raw vectors (R, E) floats, not standardised; a row of NaN is a set that could not be described."""

    def seen_with(self, config: Config, model: ReleasedModel) -> str:
        """A fingerprint of everything outside the configuration and the pairs that the vectors depend on."""


def is_described(config: Config) -> bool:
    """Whether `ppd embed` has to describe the users; the others' vectors follow from who they are."""
    return isinstance(config.user, DescribedUser | StatedUser)


def open_kind(config: Config) -> Kind:
    """The kind of user that the configuration asks for, where it is one that is described."""
    return cast(Kind, importlib.import_module(f"ppd_lightning.users.{config.user.kind}"))


def needs_captions(config: Config) -> bool:
    """Whether a user has a vector of their own for each caption that is asked for."""
    return isinstance(config.user, DescribedUser) and config.shots.select == "caption_aware"
