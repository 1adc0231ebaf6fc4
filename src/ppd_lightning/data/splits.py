"""Which pairs are learnt from and which are kept for the tests: by hash, so the order of the rows does not matter.

| split | its user | its caption | what for |
|---|---|---|---|
| train | seen | seen | training |
| validation | seen | seen | watching the training |
| shots | unseen | seen | describing unseen users; never trained on |
| test_seen | seen | held out | tests |
| test_unseen | unseen | held out | tests |
"""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Iterable
from itertools import pairwise

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from ppd_lightning.errors import UserError
from ppd_lightning.settings.plain_text import plain_text

SPLITS = ("train", "validation", "shots", "test_seen", "test_unseen")
TESTS = ("test_seen", "test_unseen")
NOT_PLAIN = "[^ -~]|^ | $|  "
"""What a text has whose normal form may be another: anything but ASCII, or spaces too many."""


def hash_fraction(purpose: str, name: str) -> float:
    """A number in [0, 1) that looks random and depends on `purpose` and the normal form of `name` (`plain_text`) alone.

    So captions that look the same are held out together.
    """
    digest = hashlib.blake2b(f"{purpose}/{plain_text(name)}".encode(), digest_size=8).digest()
    return (int.from_bytes(digest, "little") >> 11) / (1 << 53)


def choose_share(purpose: str, names: Iterable[str], share: float) -> frozenset[str]:
    """About `share` of the names; whether a name is chosen does not depend on the others."""
    return frozenset(name for name in names if hash_fraction(purpose, name) < share)


def choose_count(purpose: str, names: Iterable[str], count: int) -> frozenset[str]:
    """Exactly `count` of the names: those with the lowest hash."""
    return frozenset(sorted(set(names), key=lambda name: (hash_fraction(purpose, name), name))[:count])


def assign_splits(
    pair_ids: pa.Array | pa.ChunkedArray,
    user_ids: pa.Array | pa.ChunkedArray,
    captions: pa.Array | pa.ChunkedArray,
    *,
    held_out: Collection[str],
    unseen: Collection[str],
    validation: float,
) -> pa.Array | pa.ChunkedArray:
    """The split of each pair, from its strings of id, user and caption.

    Args:
        held_out: captions that only the tests see.
        unseen: users that are never trained on.
        validation: share of the training pairs that is held back, by hash of the pair.
    """
    tested = pc.is_in(captions, value_set=pa.array(list(held_out), pa.string()))
    is_unseen = pc.is_in(user_ids, value_set=pa.array(list(unseen), pa.string()))
    watched = pa.array([hash_fraction("validation", pair) < validation for pair in pair_ids.to_pylist()], pa.bool_())
    return pc.case_when(
        pc.make_struct(pc.and_(tested, is_unseen), tested, is_unseen, watched),
        "test_unseen",
        "test_seen",
        "shots",
        "validation",
        "train",
    )


def shares_test_image(table: pa.Table) -> pa.ChunkedArray:
    """For each row of a pairs table, whether it is no test pair but shows an image that a test pair shows."""
    tested = pc.is_in(table["split"], value_set=pa.array(TESTS))
    images = _images(table.filter(tested))
    shows = pc.or_(pc.is_in(table["preferred"], value_set=images), pc.is_in(table["dispreferred"], value_set=images))
    return pc.and_(pc.invert(tested), shows)


def check_no_leak(table: pa.Table, name: str = "pairs") -> None:
    """Make sure that nothing of the tests was learnt from.

    Args:
        table: with the columns of `pairs.PAIRS_SCHEMA`, as text or as dictionaries of text.
        name: what to call the table in messages.

    Raises:
        UserError: a caption (or one that looks the same) or an image of a test pair is in train, validation or
            shots; an unseen user is in train or validation; a pair comes twice; a split has an unknown name.
    """
    (splits,), names = _codes(table["split"])
    known = names.to_pylist()

    def among(*wanted: str) -> np.ndarray:
        return np.isin(splits, [code for code, split in enumerate(known) if split in wanted])

    test, other = among(*TESTS), among("train", "validation", "shots")
    learnt, unseen = among("train", "validation"), among("shots", "test_unseen")
    faults = []
    for what, columns, kept, used in (
        ("caption", ("caption",), test, other),
        ("image", ("preferred", "dispreferred"), test, other),
        ("unseen user", ("user_id",), unseen, learnt),
    ):
        coded, values = _codes(*(table[column] for column in columns))
        if what == "caption":
            coded = [_alike(values)[codes] for codes in coded]
        is_kept, is_used = np.zeros((2, len(values)), bool)
        for codes in coded:
            is_kept[codes[kept]], is_used[codes[used]] = True, True
        both = np.flatnonzero(is_kept & is_used)
        if len(both):
            faults.append(
                f"{name}: {len(both)} {what}{'s' if len(both) > 1 else ''} of the tests would be learnt from, "
                f"such as {values[both[0]].as_py()[:80]!r}; run `ppd prepare` again"
            )
    wrong = {known[code] for code in np.unique(splits).tolist()} - set(SPLITS)
    if wrong:
        faults.append(f"{name}: there is no split {', '.join(sorted(map(repr, wrong)))}; run `ppd prepare` again")
    if not _all_differ(table["pair_id"]):
        faults.append(f"{name}: a pair comes twice; run `ppd prepare` again")
    if faults:
        raise UserError(faults)


def _codes(*columns: pa.ChunkedArray) -> tuple[list[np.ndarray], pa.Array]:
    """Columns of text as numbers, (N,) each, and what they stand for; equal text is one number."""
    whole = [column.combine_chunks() for column in columns]
    coded = all(pa.types.is_dictionary(column.type) for column in whole)
    if not (coded and all(column.dictionary.equals(whole[0].dictionary) for column in whole[1:])):
        together = pa.chunked_array([column.cast(pa.string()) for column in whole])
        both = together.combine_chunks().dictionary_encode()
        ends = np.cumsum([0, *map(len, whole)]).tolist()
        whole = [both.slice(begin, end - begin) for begin, end in pairwise(ends)]
    return [np.asarray(column.indices) for column in whole], whole[0].dictionary


def _alike(captions: pa.Array) -> np.ndarray:
    """For each caption the number of one that looks the same (`plain_text`); its own, where none does."""
    numbers = np.arange(len(captions))
    odd = np.flatnonzero(np.asarray(pc.match_substring_regex(captions, NOT_PLAIN)))
    if len(odd):
        known = {caption: number for number, caption in enumerate(captions.to_pylist())}
        for number in odd.tolist():
            numbers[number] = known.setdefault(plain_text(captions[number].as_py()), number)
    return numbers


def _all_differ(ids: pa.ChunkedArray) -> bool:
    text = ids.cast(pa.string())
    if pc.all(pc.less(text[:-1], text[1:]), min_count=0).as_py():
        return True  # sorted, as they are stored
    return len(pc.unique(text)) == len(text)


def _images(table: pa.Table) -> pa.Array:
    return pa.chunked_array([*table["preferred"].chunks, *table["dispreferred"].chunks], pa.string()).unique()
