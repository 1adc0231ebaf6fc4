"""Which of a user's embeddings may describe them for a pair: shots and pair differ in their captions.

So a pair is never among its own shots, nor is another choice between images of the same caption. Where a user has a row
for each caption, it is the one of the pair's.

N = pairs, R = rows of embeddings, G = most rows of a user, S = shots of a row.
"""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from ppd_lightning.data.pairs import stable_ids
from ppd_lightning.errors import UserError
from ppd_lightning.users.rows import UserRows

BLOCK = 65_536
"""Pairs that are compared with the captions of all their shots at once."""


class Groupings:
    """The rows of user embeddings, and the captions of the shots that they were made from.

    Args:
        users: R rows.
        pairs: every pair of the data (`pairs.PAIRS_SCHEMA`), whichever its split.

    Raises:
        UserError: a shot is no pair of the data.
    """

    def __init__(self, users: UserRows, pairs: pa.Table) -> None:
        self._captions = pc.unique(pairs["caption_id"])
        ids = stable_ids(pairs["pair_id"])
        order = np.argsort(ids)
        found = np.searchsorted(ids, users.shots, sorter=order).clip(max=len(ids) - 1)
        rows = order[found]
        if not (ids[rows] == users.shots).all():
            raise UserError("the shots of the user embeddings are no pairs of these data; run `ppd embed` again")
        self._shot_captions = self._codes(pairs)[rows]  # (R, S)
        self._by_caption: pa.Array | None = None
        if users.captions is not None:
            self._by_caption = _joined(pa.array(users.users), pa.array(users.captions))
        own: dict[str, list[int]] = {}
        for row, user in enumerate(users.users):
            own.setdefault(user, []).append(row)
        self._users = pa.array(list(own), pa.string())
        self._rows = np.full((len(own), max(map(len, own.values()), default=0)), -1, np.int32)  # (users, G)
        for number, listed in enumerate(own.values()):
            self._rows[number, : len(listed)] = listed

    def rows_for(self, pairs: pa.Table) -> tuple[np.ndarray, np.ndarray]:
        """For each of N pairs, the rows of its user with shots of other captions only.

        Where rows are for captions, G is 1, and a pair whose user has no row for its caption has none.

        Returns:
            rows (N, G) int32, of which the first count (N,) of each pair are those rows, in a fixed order.

        Raises:
            UserError: no user has a row. One who could not be described has none: counts are 0.
        """
        index = pc.index_in(pairs["user_id"], value_set=self._users)
        if len(pairs) and index.null_count == len(pairs):
            raise UserError(
                f"nobody in the pairs has an embedding, such as {pairs['user_id'][0]}; run `ppd embed` again"
            )
        indices, captions = np.asarray(pc.fill_null(index, -1)), self._codes(pairs)
        if self._by_caption is not None:
            asked = _joined(pairs["user_id"].combine_chunks(), pairs["caption_id"].combine_chunks())
            found = np.asarray(pc.fill_null(pc.index_in(asked, value_set=self._by_caption), -1))
            allowed = (found >= 0) & ~(self._shot_captions[found] == captions[:, None]).any(1)
            return np.maximum(found, 0)[:, None].astype(np.int32), allowed.astype(np.int32)
        rows = np.empty((len(pairs), self._rows.shape[1]), np.int32)
        counts = np.empty(len(pairs), np.int32)
        for begin in range(0, len(pairs), BLOCK):
            block = slice(begin, begin + BLOCK)
            own = self._rows[indices[block]]
            same = self._shot_captions[own] == captions[block, None, None]
            allowed = (indices[block, None] >= 0) & (own >= 0) & ~same.any(2)
            first = np.argsort(~allowed, axis=1, kind="stable")
            rows[block], counts[block] = np.take_along_axis(own, first, 1), allowed.sum(1)
        return rows, counts

    def _codes(self, pairs: pa.Table) -> np.ndarray:
        """The captions of pairs as (N,) int32."""
        return np.asarray(pc.index_in(pairs["caption_id"], value_set=self._captions))


class EachItsOwn:
    """Groupings of pairs of which each has one embedding of its own: row i describes pair i."""

    def rows_for(self, pairs: pa.Table) -> tuple[np.ndarray, np.ndarray]:
        """Rows (N, 1) int32 and counts (N,), as of `Groupings`."""
        return np.arange(len(pairs), dtype=np.int32)[:, None], np.ones(len(pairs), np.int32)


def _joined(users: pa.Array, captions: pa.Array) -> pa.Array:
    """Users and captions as one string each; caption ids are hex digits, so no two are joined to the same."""
    return pc.binary_join_element_wise(users.cast(pa.string()), captions.cast(pa.string()), "/")
