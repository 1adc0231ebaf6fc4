"""Embeddings of users as rows, in memory or in a store.

R = rows, E = width of an embedding, S = shots of a row.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa

from ppd_lightning.data.pairs import stable_ids
from ppd_lightning.data.shards import require_finite
from ppd_lightning.data.stores import Store, StoredArray, write_store
from ppd_lightning.users.scale import Scale
from ppd_lightning.users.shot_sets import ShotSet

log = logging.getLogger(__name__)

MADE_BY = "ppd embed"
LOOKED_AT = 8192
"""Rows that are looked at at once."""


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
    scale: Scale,
    key: Mapping[str, str],
) -> None:
    """Store the rows of sets of shots, on their scale; a set whose vector is NaN has no row.

    Args:
        pairs: whose rows the sets name.
        raw: (R, E).
        scale: of those who are trained on.
        key: what they were made from.
    """
    usable = np.flatnonzero(np.isfinite(raw).all(1)).tolist()
    shots = np.array([sets[row].pairs for row in usable], np.int64)
    embeddings, ratios = scale.embeddings(raw[usable])
    far = sorted({sets[row].user for row, ratio in zip(usable, ratios.tolist(), strict=True) if ratio > 1})
    if far:
        log.warning(
            "%d people lie far outside of those who are trained on, and are drawn back to where these end: %s%s",
            len(far),
            ", ".join(far[:5]),
            f" and {len(far) - 5} more" if len(far) > 5 else "",
        )
    arrays = {"embedding": embeddings}
    if shots.shape[1]:
        arrays["shots"] = stable_ids(pairs["pair_id"])[shots]
    write_store(folder, [sets[row].row for row in usable], arrays, dict(key), ["embedding"])


def open_rows(folder: Path, key: Mapping[str, str], *, per_caption: bool) -> UserRows:
    """The rows that `write_rows` stored.

    Args:
        per_caption: whether each row is for one caption.

    Raises:
        UserError: the store is missing, damaged or stale, or an embedding is not finite.
    """
    store = Store.open(folder, dict(key), made_by=MADE_BY)
    store.verify()  # who a row is for is known by its id
    ids, embeddings = store.ids.to_pylist(), store.arrays["embedding"]
    for begin in range(0, len(store), LOOKED_AT):
        end = min(begin + LOOKED_AT, len(store))
        require_finite(f"{folder}: embedding", ids[begin:end], embeddings[begin:end])
    users, captions = zip(*(row.rsplit("/", 1) for row in ids), strict=True)
    shots = store.arrays["shots"][:] if "shots" in store.arrays else np.empty((len(store), 0), np.int64)
    return UserRows(users, embeddings, shots, captions if per_caption else None)
