"""Which of a user's embeddings may describe them for a pair: shots and pair differ in their captions.

So a pair is never among its own shots, nor is another choice between images of the same caption.

N = pairs, R = rows of embeddings, G = most rows of a user, S = shots of a row.
"""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from ppd_lightning.data.pairs import stable_ids
from ppd_lightning.run.errors import UserError
from ppd_lightning.users.embeddings import UserRows


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
        place = np.searchsorted(ids, users.shots, sorter=order).clip(max=len(ids) - 1)
        rows = order[place]
        if not (ids[rows] == users.shots).all():
            raise UserError("the shots of the user embeddings are no pairs of these data; run `ppd embed` again")
        self._shot_captions = self._codes(pairs)[rows]  # (R, S)
        self._rows: dict[str, list[int]] = {}
        for row, user in enumerate(users.users):
            self._rows.setdefault(user, []).append(row)

    def rows_for(self, pairs: pa.Table) -> tuple[np.ndarray, np.ndarray]:
        """For each of N pairs, the rows of its user with shots of other captions only.

        Returns:
            rows (N, G) int64, of which the first count (N,) of each pair are those rows, in a fixed order.

        Raises:
            UserError: a user has no row.
        """
        users = pairs["user_id"].to_pylist()
        absent = sorted(set(users) - set(self._rows))
        if absent:
            raise UserError(f"{len(absent)} users have no embedding, such as {absent[0]}; run `ppd embed` again")
        place = {user: number for number, user in enumerate(self._rows)}
        padded = np.full((len(place), max(map(len, self._rows.values()), default=0)), -1, np.int64)
        for user, own in self._rows.items():
            padded[place[user], : len(own)] = own
        rows = padded[np.array([place[user] for user in users], np.int64)]
        same = self._shot_captions[rows] == self._codes(pairs)[:, None, None]
        allowed = (rows >= 0) & ~same.any(2)
        first = np.argsort(~allowed, axis=1, kind="stable")
        return np.take_along_axis(rows, first, 1), allowed.sum(1)

    def _codes(self, pairs: pa.Table) -> np.ndarray:
        """The captions of pairs as (N,) int64."""
        return np.asarray(pc.index_in(pairs["caption_id"], value_set=self._captions)).astype(np.int64)
