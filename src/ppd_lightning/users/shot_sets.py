"""Sets of shots: a few of a person's own choices that describe them, one set a row of the embeddings.

N = pairs, D = width of a caption's vector, n = shots of a set.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from ppd_lightning.errors import UserError
from ppd_lightning.users.captions import CaptionVectors

DESCRIBING = ("train", "shots")
"""The splits whose pairs describe people: of those trained on, and of those who are not."""

BLOCK = 1 << 24
"""Similarities of captions that are held at once."""


@dataclass(frozen=True)
class ShotSet:
    """The pairs that make one row of embeddings.

    row: its name, "user/grouping", or "user/caption id" where sets are per caption. pairs: rows of the pairs table, in
    the order in which a vision-language model sees them.
    """

    row: str
    user: str
    pairs: tuple[int, ...]


def random_sets(pairs: pa.Table, n: int, groupings: int) -> list[ShotSet]:
    """For each person, `groupings` sets of `n` of their pairs, by hash: neither order nor other people matter.

    Args:
        pairs: `data.pairs.PAIRS_SCHEMA`, in the order of the pair ids.

    Raises:
        UserError: people have fewer pairs than shots; all of them are named, or the first few.
    """
    return [
        ShotSet(f"{user}/{grouping}", user, tuple(own[drawn].tolist()))
        for user, own in _own_pairs(pairs, n).items()
        for grouping in range(groupings)
        for drawn in (_generator(user, grouping).choice(len(own), n, replace=False),)
    ]


def diverse_sets(pairs: pa.Table, n: int, groupings: int, captions: CaptionVectors) -> list[ShotSet]:
    """As `random_sets`, but each set's captions are as unlike as can be: farthest-point sampling (Gonzalez 1985).

    A set is picked from a half of the person's pairs, drawn by hash, and begins with the first of it. So groupings
    differ, and each pair is left out of about half of them, which can then describe it.

    Raises:
        UserError: as `random_sets`.
    """
    sets = []
    for user, own in _own_pairs(pairs, n).items():
        vectors = captions.of(pairs["caption_id"].take(pa.array(own)))
        for grouping in range(groupings):
            half = _generator(user, grouping).permutation(len(own))[: max(n, len(own) // 2)]
            picked = half[_farthest(vectors[half], n)]
            sets.append(ShotSet(f"{user}/{grouping}", user, tuple(own[picked].tolist())))
    return sets


def nearest_sets(pairs: pa.Table, n: int, asked: Iterable[tuple[str, str]], captions: CaptionVectors) -> list[ShotSet]:
    """For each person and caption, the `n` pairs of the person whose captions are nearest to it, nearest first.

    Pairs of that very caption are never among them; somebody who has fewer than `n` others has no set for it. The work
    is one product of (captions asked of a person, D) and (their pairs, D) a person, so it grows with the square of a
    person's pairs and in proportion to the people.

    Args:
        asked: user and caption id; each once.
        captions: all that are asked, and those of the pairs.

    Raises:
        UserError: as `random_sets`.
    """
    wanted: dict[str, list[str]] = {}
    for user, caption in asked:
        wanted.setdefault(user, []).append(caption)
    own_pairs, sets = _own_pairs(pairs, n), []
    for user in sorted(wanted.keys() & own_pairs.keys()):
        own, targets = own_pairs[user], sorted(wanted[user])
        ids = pairs["caption_id"].take(pa.array(own))
        vectors, step = captions.of(ids), max(1, BLOCK // len(own))
        for begin in range(0, len(targets), step):
            block = targets[begin : begin + step]
            near = captions.of(block) @ vectors.T
            near[np.asarray(block, object)[:, None] == np.asarray(ids.to_pylist(), object)] = -np.inf
            order = np.argsort(-near, axis=1, kind="stable")[:, :n]
            enough = np.isfinite(np.take_along_axis(near, order, 1)).all(1)
            sets += [
                ShotSet(f"{user}/{caption}", user, tuple(own[picked].tolist()))
                for caption, picked, usable in zip(block, order, enough.tolist(), strict=True)
                if usable
            ]
    return sets


def captions_of_users(pairs: pa.Table) -> list[tuple[str, str]]:
    """The user and caption id of every pair that is not of the tests, each once."""
    own = pairs.filter(pc.is_in(pairs["split"], pa.array(["train", "validation", "shots"])))
    both = own.select(["user_id", "caption_id"]).group_by(["user_id", "caption_id"]).aggregate([])
    return list(zip(*(column.to_pylist() for column in both.columns), strict=True))


def _own_pairs(pairs: pa.Table, n: int) -> dict[str, np.ndarray]:
    """The rows of each person's describing pairs, in the order of the pair ids; people by name."""
    usable = np.flatnonzero(np.asarray(pc.is_in(pairs["split"], pa.array(DESCRIBING))))
    if not len(usable):
        return {}
    ids = np.asarray(pairs["pair_id"].take(pa.array(usable)).to_pylist(), object)
    usable = usable[np.argsort(ids)]
    users = pairs["user_id"].take(pa.array(usable)).combine_chunks().dictionary_encode()
    codes = np.asarray(users.indices)
    order = np.argsort(codes, kind="stable")
    parts = np.split(usable[order], np.cumsum(np.bincount(codes, minlength=len(users.dictionary)))[:-1])
    own = dict(sorted(zip(users.dictionary.to_pylist(), parts, strict=True)))
    poor = [user for user, listed in own.items() if len(listed) < n]
    if poor:
        named = ", ".join(poor[:5]) + (f" and {len(poor) - 5} more" if len(poor) > 5 else "")
        raise UserError(
            f"shots.n: {n} choices are needed to describe a person, fewer are there of {named}; use fewer, or "
            f"leave these people out with data.min_pairs={n + 1}"
        )
    return own


def _farthest(vectors: np.ndarray, n: int) -> list[int]:
    """The first row, then again and again the one that is farthest from those that were picked; the first of equals."""
    picked = [0]
    nearest = vectors @ vectors[0]  # of the picked ones, as cosines: larger is nearer
    while len(picked) < n:
        nearest[picked] = np.inf
        picked.append(int(nearest.argmin()))
        nearest = np.maximum(nearest, vectors @ vectors[picked[-1]])
    return picked


def _generator(user: str, grouping: int) -> np.random.Generator:
    digest = hashlib.blake2b(f"shots/{user}/{grouping}".encode(), digest_size=8).digest()
    return np.random.default_rng(int.from_bytes(digest, "little"))
