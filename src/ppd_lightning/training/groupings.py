"""Which of a user's embeddings may describe them for a pair: a pair is never among its own shots.

N = pairs, R = rows of embeddings, G = most rows of a user, S = shots of a row.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ppd_lightning.run.errors import UserError


def rows_without_pair(
    row_users: Sequence[str], shots: np.ndarray, users: Sequence[str], pairs: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """For each pair, the rows of its user that were not made from it.

    Args:
        row_users: R user ids.
        shots: (R, S) int64, the pairs that made each row.
        users: N user ids, of the pairs.
        pairs: (N,) int64.

    Returns:
        rows (N, G) int64, of which the first count (N,) of each pair are those rows, in a fixed order.

    Raises:
        UserError: a user has no row.
    """
    of_user: dict[str, list[int]] = {}
    for row, user in enumerate(row_users):
        of_user.setdefault(user, []).append(row)
    absent = sorted(set(users) - set(of_user))
    if absent:
        raise UserError(f"{len(absent)} users have no embedding, such as {absent[0]}; run `ppd embed` again")
    place = {user: number for number, user in enumerate(of_user)}
    padded = np.full((len(of_user), max(map(len, of_user.values()), default=0)), -1, np.int64)
    for user, own in of_user.items():
        padded[place[user], : len(own)] = own
    rows = padded[np.array([place[user] for user in users], np.int64)]
    allowed = (rows >= 0) & ~(shots[rows] == pairs[:, None, None]).any(2)
    first = np.argsort(~allowed, axis=1, kind="stable")
    return np.take_along_axis(rows, first, 1), allowed.sum(1)
