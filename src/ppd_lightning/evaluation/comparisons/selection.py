"""Which images are compared: for a person and a caption, one drawn for the person beside one drawn by the base."""

from __future__ import annotations

import hashlib
import itertools
import math
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from ppd_lightning.data.prepared import PreparedData
from ppd_lightning.errors import UserError
from ppd_lightning.generation.prompts import read_prompts
from ppd_lightning.users.users import Users

FIRST_SEED, SEEDS = 1000, 4
"""The noises of the comparisons, more where few users and captions need them; `ppd generate`'s sheets use others."""

NAMED = 5
"""People whom a message names."""

OF_DATA = ("held_out", "train")
"""The values of `evaluation.captions` that name no file."""


@dataclass(frozen=True)
class Comparison:
    """One person, one caption, one seed; the person's image and the base's share the noise of (caption, seed)."""

    group: str
    user: str
    caption: str
    seed: int


def evaluated_captions(named: str, data: PreparedData) -> list[str]:
    """The captions that `evaluation.captions` names.

    Args:
        named: held_out or train, of the data, or a file.

    Raises:
        UserError: the data are not prepared, or the file is missing or holds something else.
    """
    if named in OF_DATA:
        return data.captions(held_out=named == "held_out")
    return read_prompts(Path(named), "evaluation.captions")


def require_known(users: Users, described: Collection[str]) -> None:
    """Only people of the data can be measured, also where files give their vectors.

    Args:
        described: the names in the files of `generation.people`.

    Raises:
        UserError: somebody of them is not in the data, or not served.
    """
    if not described:
        return
    known = {user for people in users.served()[0].values() for user in people}
    strangers = sorted(set(described) - known)
    if strangers:
        more = f" and {len(strangers) - NAMED} more" if len(strangers) > NAMED else ""
        raise UserError(
            f"generation.people: {', '.join(strangers[:NAMED])}{more}: not in the data, so nothing says what they "
            "like; describe people by the names that they have in the data, or draw for these by `ppd generate`"
        )


def comparisons_of(users: Users, captions: Sequence[str], count: int | None, seeds_each: int = 1) -> list[Comparison]:
    """Comparisons for each group of people whom the run can serve.

    Args:
        captions: what is drawn.
        count: comparisons of a group, as `choose_comparisons` chooses them; None is every user with every caption, with
            the same noises for all users.
        seeds_each: noises of each user and caption.

    Raises:
        UserError: the pairs are missing.
    """
    chosen: list[Comparison] = []
    for group, people in users.served()[0].items():
        if not people:
            continue
        if count is None:
            noises = range(FIRST_SEED, FIRST_SEED + seeds_each)
            every = itertools.product(noises, captions, sorted(people))
            chosen += [Comparison(group, user, caption, seed) for seed, caption, user in every]
            continue
        rounds = math.ceil(math.ceil(math.ceil(count / seeds_each) / len(people)) / len(captions))
        seeds = range(FIRST_SEED, FIRST_SEED + max(SEEDS, rounds * seeds_each))
        chosen += choose_comparisons(group, people, captions, seeds, count, seeds_each)
    return chosen


def choose_comparisons(
    group: str,
    users: Sequence[str],
    captions: Sequence[str],
    seeds: Sequence[int],
    count: int,
    seeds_each: int = 1,
) -> list[Comparison]:
    """Spread `count` comparisons evenly over the people; a person meets every caption before one comes again.

    The choice depends on the ids alone, not on their order. No two are alike as long as there are seeds for it, and
    fewer are the first of more.

    Args:
        seeds_each: seeds of each person and caption, one after the other.

    Raises:
        ValueError: nobody, no caption or no seed to choose from.
    """
    if not (users and captions and seeds):
        raise ValueError(
            f"{group}: people, captions and seeds are needed, got {len(users)}, {len(captions)}, {len(seeds)}"
        )
    people = sorted(set(users), key=lambda user: _order(group, user))
    orders: dict[str, list[str]] = {}
    chosen = []
    for index in range(math.ceil(count / seeds_each)):
        user, turn = people[index % len(people)], index // len(people)
        own = orders.setdefault(user, [])
        if not own:
            own += sorted(set(captions), key=partial(_order, group, user))
        caption = own[turn % len(own)]
        first = int(_order("seed", user, caption, "0"), 16) + turn // len(own) * seeds_each
        for further in range(seeds_each):
            chosen.append(Comparison(group, user, caption, seeds[(first + further) % len(seeds)]))
    return chosen[:count]


def _order(*parts: str) -> str:
    return hashlib.blake2b("\0".join(parts).encode(), digest_size=8).hexdigest()
