"""Splits come from hashes alone, and nothing of the tests is ever learnt from."""

from __future__ import annotations

import random

import pyarrow as pa
import pytest

from ppd_lightning.data.pairs import PAIRS_SCHEMA
from ppd_lightning.data.splits import (
    SPLITS,
    assign_splits,
    check_no_leak,
    choose_count,
    choose_share,
    hash_fraction,
    shares_test_image,
)
from ppd_lightning.run.errors import UserError

CAPTIONS = [f"caption {number}" for number in range(30)]
USERS = [str(number) for number in range(40)]
PAIRS = [(f"{u}-{c}", user, caption) for u, user in enumerate(USERS) for c, caption in enumerate(CAPTIONS)]
HELD_OUT, UNSEEN = choose_count("caption", CAPTIONS, 6), choose_count("user", USERS, 8)


def split_of(pairs: list[tuple[str, str, str]]) -> dict[str, str]:
    ids, users, captions = zip(*pairs, strict=True)
    splits = assign_splits(ids, users, captions, held_out=HELD_OUT, unseen=UNSEEN, validation=0.1)
    return dict(zip(ids, splits, strict=True))


def table(*rows: tuple[str, str, str, str, str, str]) -> pa.Table:
    """Rows of (pair, user, caption, preferred, dispreferred, split)."""
    names = ("pair_id", "user_id", "caption", "preferred", "dispreferred", "split")
    made = [dict(zip(names, row, strict=True)) | {"caption_id": row[2]} for row in rows]
    return pa.Table.from_pylist(made, PAIRS_SCHEMA)


SOUND = (
    ("1", "ann", "cat", "cat/a", "cat/b", "train"),
    ("2", "ann", "dog", "dog/a", "dog/b", "validation"),
    ("3", "bob", "cat", "cat/a", "cat/c", "shots"),
    ("4", "ann", "owl", "owl/a", "owl/b", "test_seen"),
    ("5", "bob", "owl", "owl/b", "owl/a", "test_unseen"),
)


def test_the_order_of_the_rows_does_not_matter() -> None:
    shuffled = random.Random(0).sample(PAIRS, len(PAIRS))
    assert split_of(shuffled) == split_of(PAIRS)
    assert choose_count("caption", reversed(CAPTIONS), 6) == HELD_OUT


def test_other_pairs_do_not_matter() -> None:
    assert split_of(PAIRS[::7]).items() <= split_of(PAIRS).items()
    share = choose_share("caption", CAPTIONS, 0.3)
    assert choose_share("caption", CAPTIONS[::2], 0.3) == share & set(CAPTIONS[::2])


def test_each_split_holds_what_its_name_says() -> None:
    splits = split_of(PAIRS)
    assert set(splits.values()) == set(SPLITS)
    for pair, user, caption in PAIRS:
        split = splits[pair]
        assert (caption in HELD_OUT) == split.startswith("test_")
        assert (user in UNSEEN) == (split in ("shots", "test_unseen"))
    learnt = [split for split in splits.values() if split in ("train", "validation")]
    assert 0.05 < learnt.count("validation") / len(learnt) < 0.15


def test_shares_are_about_as_large_as_asked() -> None:
    names = [f"name {number}" for number in range(5000)]
    assert 0.08 < len(choose_share("user", names, 0.1)) / len(names) < 0.12
    assert choose_share("user", names, 0.0) == frozenset()
    assert len(choose_count("user", names, 17)) == 17
    assert all(0 <= hash_fraction("user", name) < 1 for name in names)


def test_choosing_captions_and_users_is_independent() -> None:
    names = [f"name {number}" for number in range(2000)]
    both = choose_share("caption", names, 0.5) & choose_share("user", names, 0.5)
    assert 0.2 < len(both) / len(names) < 0.3


def test_a_sound_table_passes() -> None:
    check_no_leak(table(*SOUND))


@pytest.mark.parametrize(
    ("planted", "what"),
    [
        (("6", "cid", "owl", "owl/d", "owl/e", "train"), "1 caption of the tests would be learnt from, such as 'owl'"),
        (("6", "bob", "owl", "owl/d", "owl/e", "shots"), "1 caption of the tests"),
        (("6", "cid", "bat", "owl/a", "bat/b", "train"), "1 image of the tests would be learnt from, such as 'owl/a'"),
        (("6", "cid", "bat", "bat/a", "owl/b", "validation"), "1 image of the tests"),
        (("6", "bob", "cat", "cat/a", "cat/b", "train"), "1 unseen user of the tests would be learnt from"),
        (("6", "bob", "cat", "cat/a", "cat/b", "validation"), "1 unseen user of the tests"),
        (("1", "cid", "cat", "cat/a", "cat/b", "train"), "a pair comes twice"),
        (("6", "cid", "cat", "cat/a", "cat/b", "tests"), "there is no split 'tests'"),
    ],
)
def test_a_planted_leak_is_found(planted: tuple[str, str, str, str, str, str], what: str) -> None:
    with pytest.raises(UserError, match=what):
        check_no_leak(table(*SOUND, planted))


def test_several_leaks_are_told_at_once() -> None:
    with pytest.raises(UserError) as caught:
        check_no_leak(table(*SOUND, ("6", "bob", "owl", "owl/a", "owl/b", "train")))
    assert [fault.split(":")[1].split(" of ")[0] for fault in caught.value.faults] == [
        " 1 caption",
        " 2 images",
        " 1 unseen user",
    ]


def test_pairs_that_share_an_image_with_a_test_are_marked() -> None:
    rows = table(*SOUND, ("6", "ann", "bird", "owl/a", "bird/b", "train"))
    assert shares_test_image(rows).to_pylist() == [False] * 5 + [True]
