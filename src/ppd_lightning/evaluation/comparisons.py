"""Which pictures are compared: for a person and a caption, one drawn for the person beside one drawn by the base."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Comparison:
    """One person, one caption, one seed; the person's picture and the base's share the noise of (caption, seed)."""

    group: str
    user: str
    caption: str
    seed: int


def choose_comparisons(
    group: str, users: Sequence[str], captions: Sequence[str], seeds: Sequence[int], count: int
) -> list[Comparison]:
    """Spread `count` comparisons evenly over the people; a person meets every caption before one comes again.

    The choice depends on the ids alone, not on their order. No two are alike as long as there are seeds for it.

    Raises:
        ValueError: nobody, no caption or no seed to choose from.
    """
    if not (users and captions and seeds):
        raise ValueError(
            f"{group}: people, captions and seeds are needed, got {len(users)}, {len(captions)}, {len(seeds)}"
        )
    people = sorted(set(users), key=lambda user: _order(group, user))
    chosen = []
    for index in range(count):
        user, turn = people[index % len(people)], index // len(people)
        own = sorted(set(captions), key=lambda caption: _order(group, user, caption))
        caption = own[turn % len(own)]
        seed = seeds[(int(_order("seed", user, caption, "0"), 16) + turn // len(own)) % len(seeds)]
        chosen.append(Comparison(group, user, caption, seed))
    return chosen


def _order(*parts: str) -> str:
    return hashlib.blake2b("\0".join(parts).encode(), digest_size=8).hexdigest()
