"""Embeddings of users as rows, in memory or in a store.

R = rows, E = width of an embedding, S = shots of a row.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa

from ppd_lightning.data.pairs import stable_ids
from ppd_lightning.data.stores import Store, StoredArray, write_store
from ppd_lightning.users.discriminants import standardise
from ppd_lightning.users.shot_sets import ShotSet

MADE_BY = "ppd embed"


@dataclass(frozen=True)
class UserRows:
    """Embeddings with one row a user, or several: one for each grouping of shots, or for each caption.

    users: R user ids. embeddings: (R, E) floats, in memory or stored. shots: (R, S) int64, the stable ids of the pairs
    that made each row; S is 0 where no pair did. captions: R ids of the captions that the rows are for; None where a
    row is for every caption.
    """

    users: tuple[str, ...]
    embeddings: np.ndarray | StoredArray
    shots: np.ndarray
    captions: tuple[str, ...] | None = None


def write_rows(
    folder: Path,
    pairs: pa.Table,
    sets: Sequence[ShotSet],
    raw: np.ndarray,
    scale: np.ndarray,
    key: Mapping[str, str],
) -> None:
    """Store the rows of sets of shots, standardised; a set whose vector is NaN has no row.

    Args:
        pairs: whose rows the sets name.
        raw: (R, E).
        scale: `discriminants.standard`, (2, E).
        key: what they were made from.
    """
    usable = np.flatnonzero(np.isfinite(raw).all(1)).tolist()
    shots = np.array([sets[row].pairs for row in usable], np.int64)
    arrays = {"embedding": standardise(raw[usable], scale)}
    if shots.shape[1]:
        arrays["shots"] = stable_ids(pairs["pair_id"])[shots]
    write_store(folder, [sets[row].row for row in usable], arrays, dict(key))


def open_rows(folder: Path, key: Mapping[str, str], *, per_caption: bool) -> UserRows:
    """The rows that `write_rows` stored.

    Args:
        per_caption: whether each row is for one caption.

    Raises:
        UserError: the store is missing, damaged or stale.
    """
    store = Store.open(folder, dict(key), made_by=MADE_BY)
    users, captions = zip(*(row.rsplit("/", 1) for row in store.ids.to_pylist()), strict=True)
    shots = store.arrays["shots"][:] if "shots" in store.arrays else np.empty((len(store), 0), np.int64)
    return UserRows(users, store.arrays["embedding"], shots, captions if per_caption else None)
