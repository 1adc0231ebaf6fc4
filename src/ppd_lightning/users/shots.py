"""Which pairs describe a person: groupings of a few of their own choices."""

from __future__ import annotations

import hashlib

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from ppd_lightning.run.errors import UserError

DESCRIBING = ("train", "shots")
"""The splits whose pairs describe people: of those trained on, and of those who are not."""


def choose_shots(pairs: pa.Table, shots: int, groupings: int) -> dict[str, list[list[str]]]:
    """For each person, `groupings` sets of `shots` of their pairs, by hash: neither order nor other people matter.

    Args:
        pairs: with the columns of `data.pairs.PAIRS_SCHEMA`.

    Returns:
        pair ids: {user: groupings x shots}.

    Raises:
        UserError: people have fewer pairs than shots; all of them are named, or the first few.
    """
    usable = pairs.filter(pc.is_in(pairs["split"], pa.array(DESCRIBING)))
    own: dict[str, list[str]] = {}
    for user, pair in zip(usable["user_id"].to_pylist(), usable["pair_id"].to_pylist(), strict=True):
        own.setdefault(user, []).append(pair)
    poor = sorted(user for user, listed in own.items() if len(listed) < shots)
    if poor:
        named = ", ".join(poor[:5]) + (f" and {len(poor) - 5} more" if len(poor) > 5 else "")
        raise UserError(
            f"user.shots: {shots} choices are needed to describe a person, fewer are there of {named}; use fewer, or "
            f"leave these people out with data.min_pairs={shots + 1}"
        )
    return {user: [_drawn(user, g, sorted(listed), shots) for g in range(groupings)] for user, listed in own.items()}


def _drawn(user: str, grouping: int, pairs: list[str], shots: int) -> list[str]:
    digest = hashlib.blake2b(f"shots/{user}/{grouping}".encode(), digest_size=8).digest()
    generator = np.random.default_rng(int.from_bytes(digest, "little"))
    return [pairs[place] for place in generator.choice(len(pairs), shots, replace=False)]
