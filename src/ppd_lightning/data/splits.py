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
from collections.abc import Collection, Iterable, Sequence

import pyarrow as pa
import pyarrow.compute as pc

from ppd_lightning.run.errors import UserError

SPLITS = ("train", "validation", "shots", "test_seen", "test_unseen")
TESTS = ("test_seen", "test_unseen")


def hash_fraction(purpose: str, name: str) -> float:
    """A number in [0, 1) that looks random and depends on `purpose` and `name` alone."""
    digest = hashlib.blake2b(f"{purpose}/{name}".encode(), digest_size=8).digest()
    return (int.from_bytes(digest, "little") >> 11) / (1 << 53)


def choose_share(purpose: str, names: Iterable[str], share: float) -> frozenset[str]:
    """About `share` of the names; whether a name is chosen does not depend on the others."""
    return frozenset(name for name in names if hash_fraction(purpose, name) < share)


def choose_count(purpose: str, names: Iterable[str], count: int) -> frozenset[str]:
    """Exactly `count` of the names: those with the lowest hash."""
    return frozenset(sorted(set(names), key=lambda name: (hash_fraction(purpose, name), name))[:count])


def assign_splits(
    pair_ids: Sequence[str],
    user_ids: Sequence[str],
    captions: Sequence[str],
    *,
    held_out: Collection[str],
    unseen: Collection[str],
    validation: float,
) -> list[str]:
    """The split of each pair.

    Args:
        held_out: captions that only the tests see.
        unseen: users that are never trained on.
        validation: share of the training pairs that is held back, by hash of the pair.
    """
    splits = []
    for pair, user, caption in zip(pair_ids, user_ids, captions, strict=True):
        if caption in held_out:
            splits.append("test_unseen" if user in unseen else "test_seen")
        elif user in unseen:
            splits.append("shots")
        else:
            splits.append("validation" if hash_fraction("validation", pair) < validation else "train")
    return splits


def shares_test_image(table: pa.Table) -> pa.ChunkedArray:
    """For each row of a pairs table, whether it is no test pair but shows an image that a test pair shows."""
    tested = pc.is_in(table["split"], value_set=pa.array(TESTS))
    shown = _images(table.filter(tested))
    shows = pc.or_(pc.is_in(table["preferred"], value_set=shown), pc.is_in(table["dispreferred"], value_set=shown))
    return pc.and_(pc.invert(tested), shows)


def check_no_leak(table: pa.Table, name: str = "pairs") -> None:
    """Make sure that nothing of the tests was learnt from.

    Args:
        table: with the columns of `pairs.PAIRS_SCHEMA`.
        name: what to call the table in messages.

    Raises:
        UserError: a caption or an image of a test pair is in train, validation or shots too; an unseen user is in train
            or validation; a pair comes twice; a split has an unknown name.
    """
    splits = table["split"]
    test = table.filter(pc.is_in(splits, value_set=pa.array(TESTS)))
    other = table.filter(pc.is_in(splits, value_set=pa.array(["train", "validation", "shots"])))
    learnt = table.filter(pc.is_in(splits, value_set=pa.array(["train", "validation"])))
    unseen = table.filter(pc.is_in(splits, value_set=pa.array(["shots", "test_unseen"])))
    faults = []
    for what, kept, used in (
        ("caption", test["caption"], other["caption"]),
        ("image", _images(test), _images(other)),
        ("unseen user", unseen["user_id"], learnt["user_id"]),
    ):
        both = pc.filter(used, pc.is_in(used, value_set=pc.unique(kept))).unique().to_pylist()
        if both:
            faults.append(
                f"{name}: {len(both)} {what}{'s' if len(both) > 1 else ''} of the tests would be learnt from, "
                f"such as {both[0]!r}; run `ppd prepare` again"
            )
    wrong = set(pc.unique(splits).to_pylist()) - set(SPLITS)
    if wrong:
        faults.append(f"{name}: there is no split {', '.join(sorted(map(repr, wrong)))}; run `ppd prepare` again")
    if len(pc.unique(table["pair_id"])) != len(table):
        faults.append(f"{name}: a pair comes twice; run `ppd prepare` again")
    if faults:
        raise UserError(faults)


def _images(table: pa.Table) -> pa.Array:
    return pa.chunked_array([*table["preferred"].chunks, *table["dispreferred"].chunks], pa.string()).unique()
