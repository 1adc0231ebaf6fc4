"""Everybody's embeddings, by what kind of user the configuration asks for.

R = rows, E = width of an embedding, S = shots of a row.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow.compute as pc
import torch
from torch import Tensor

from ppd_lightning.config.schemas import Config
from ppd_lightning.data import layout
from ppd_lightning.data.stores import Store, StoredArray
from ppd_lightning.models.released import ReleasedModel
from ppd_lightning.run.errors import UserError
from ppd_lightning.run.fingerprints import fingerprint
from ppd_lightning.users.encoders import encoder_fingerprint

VERSION = 1
"""Raised when the same settings would give other embeddings."""


@dataclass(frozen=True)
class UserRows:
    """Embeddings with one row a user, or several (groupings of shots).

    users: R user ids. embeddings: (R, E) floats, in memory or stored. shots: (R, S) int64, the stable ids of the pairs
    that made each row; S is 0 where no pair did.
    """

    users: tuple[str, ...]
    embeddings: np.ndarray | StoredArray
    shots: np.ndarray


def embeddings_folder(config: Config) -> Path:
    """Where `ppd embed` stores the embeddings of `user.kind=features`."""
    return layout.pairs_path(config).parent / f"users-features-{fingerprint(config.user)}"


def embeddings_key(config: Config, model: ReleasedModel) -> dict[str, str]:
    """What those embeddings must have been made from."""
    encoder = encoder_fingerprint(config.user.encoder, model)
    return {**layout.pairs_key(config), "encoder": encoder, "version": str(VERSION)}


def open_user_rows(config: Config, model: ReleasedModel) -> UserRows:
    """The rows that describe the users of the pairs.

    - features: what `ppd embed` stored, several rows a user.
    - one_hot: a dimension for each user, in alphabetical order.
    - constant: the same one-dimensional vector for everybody.

    Raises:
        UserError: the store or the pairs are missing, damaged or stale.
    """
    if config.user.kind == "features":
        store = Store.open(embeddings_folder(config), embeddings_key(config, model), made_by="ppd embed")
        users = tuple(row.rsplit("/", 1)[0] for row in store.ids.to_pylist())
        return UserRows(users, store.arrays["embedding"], store.arrays["shots"][:])
    users = tuple(sorted(pc.unique(layout.read_pairs(config)["user_id"]).to_pylist()))
    one_hot = config.user.kind == "one_hot"
    vectors = np.eye(len(users), dtype=np.float32) if one_hot else np.ones((len(users), 1), np.float32)
    return UserRows(users, vectors, np.empty((len(users), 0), np.int64))


def user_embeddings(config: Config, model: ReleasedModel, users: Sequence[str]) -> Tensor:
    """One embedding for each of these users, (len(users), E): of the first grouping, where there are several.

    Raises:
        UserError: somebody is not in the pairs.
    """
    rows = open_user_rows(config, model)
    first = {user: row for row, user in reversed(list(enumerate(rows.users)))}
    unknown = sorted(set(users) - set(first))
    if unknown:
        raise UserError(f"{', '.join(unknown)}: nobody of that name is in the pairs; run `ppd embed` for these pairs")
    return torch.from_numpy(np.asarray(rows.embeddings[[first[user] for user in users]], np.float32))
