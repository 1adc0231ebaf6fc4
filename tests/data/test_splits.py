"""Splits come from hashes alone, and nothing of the tests is ever learnt from."""

from __future__ import annotations

import random

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ppd_lightning.data.pairs import PAIRS_SCHEMA, caption_id, pairs_of_people
from ppd_lightning.data.splits import (
    SPLITS,
    assign_splits,
    check_no_leak,
    choose_count,
    choose_share,
    hash_fraction,
    shares_test_image,
)
from ppd_lightning.errors import UserError

CAPTIONS = [f"caption {number}" for number in range(30)]
USERS = [str(number) for number in range(40)]
PAIRS = [(f"{u}-{c}", user, caption) for u, user in enumerate(USERS) for c, caption in enumerate(CAPTIONS)]
HELD_OUT, UNSEEN = choose_count("caption", CAPTIONS, 6), choose_count("user", USERS, 8)


def split_of(pairs: list[tuple[str, str, str]]) -> dict[str, str]:
    ids, users, captions = (pa.array(column, pa.string()) for column in zip(*pairs, strict=True))
    splits = assign_splits(ids, users, captions, held_out=HELD_OUT, unseen=UNSEEN, validation=0.1)
    return dict(zip(ids.to_pylist(), splits.to_pylist(), strict=True))


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


def test_several_leaks_are_reported_at_once() -> None:
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


NAMES = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=3)


def two(names: list[str]) -> st.SearchStrategy[tuple[str, str]]:
    """Two different ones."""
    return st.tuples(st.sampled_from(names), st.sampled_from(names)).filter(lambda both: both[0] != both[1])


@st.composite
def sources(draw: st.DrawFn) -> tuple[list[dict[str, object]], dict[str, object]]:
    """Rows of `pickapic_rows.Rows` with few users, captions and images, so that they meet; settings of the splits."""
    sizes = (5, 5, draw(st.sampled_from([4, 40])))  # with few images nearly all pairs share one
    users, captions, images = (draw(st.lists(NAMES, min_size=2, max_size=size, unique=True)) for size in sizes)
    choice = st.tuples(*map(st.sampled_from, (users, captions)), two(images), st.sampled_from([0, 0.5, 1]))
    rows = [
        {
            "pair_id": f"{number:016x}",
            "user_id": user,
            "caption": caption,
            "image_0": shown[0],
            "image_1": shown[1],
            "label_0": float(label),
        }
        for number, (user, caption, shown, label) in enumerate(draw(st.lists(choice, min_size=1, max_size=40)))
    ]
    return rows, {
        "held_out": choose_share("caption", captions, draw(st.sampled_from([0, 0.2, 0.5]))),
        "unseen": choose_share("user", users, draw(st.sampled_from([0, 0.3]))),
        "validation": draw(st.sampled_from([0, 0.2])),
        "min_pairs": draw(st.integers(1, 4)),
    }


def as_table(rows: list[dict[str, object]]) -> pa.Table:
    return pa.Table.from_pylist(rows, pa.schema({name: pa.string() for name in rows[0]} | {"label_0": pa.float64()}))


@settings(max_examples=60, deadline=None)
@given(sources(), st.randoms(use_true_random=False))
def test_whatever_the_source_nothing_leaks_and_the_order_of_rows_does_not_matter(
    source: tuple[list[dict[str, object]], dict[str, object]], chance: random.Random
) -> None:
    rows, shares = source
    pairs, counts = pairs_of_people(as_table(rows), **shares)
    shuffled, again = pairs_of_people(as_table(chance.sample(rows, len(rows))), **shares)
    assert (shuffled.to_pylist(), again) == (pairs.to_pylist(), counts)
    check_no_leak(pairs)
    by_split: dict[str, list[dict[str, str]]] = {split: [] for split in SPLITS}
    for pair in pairs.to_pylist():
        by_split[pair["split"]].append(pair)
        assert pair["caption_id"] == caption_id(pair["caption"])
    tests = by_split["test_seen"] + by_split["test_unseen"]
    learnt = by_split["train"] + by_split["validation"]
    others = learnt + by_split["shots"]
    for name in ("caption", "caption_id", "pair_id"):
        assert not {pair[name] for pair in tests} & {pair[name] for pair in others}
    images = [{pair[side] for pair in some for side in ("preferred", "dispreferred")} for some in (tests, others)]
    assert not images[0] & images[1]
    described = {(pair["user_id"], pair["pair_id"]) for pair in by_split["shots"]}
    assert not described & {(pair["user_id"], pair["pair_id"]) for pair in learnt}
    assert not {user for user, _ in described} & {pair["user_id"] for pair in learnt}
    told = counts["ties"] + counts["few_pairs"] + counts["image_of_tests"]
    assert len(rows) == len(pairs) + told


@settings(max_examples=50, deadline=None)
@given(sources())
def test_whoever_is_left_can_be_described_and_whoever_is_not_is_counted(
    source: tuple[list[dict[str, object]], dict[str, object]],
) -> None:
    rows, shares = source
    pairs, counts = pairs_of_people(as_table(rows), **shares)
    own: dict[str, list[str]] = {}
    for pair in pairs.to_pylist():
        own.setdefault(pair["user_id"], []).append(pair["split"])
    shots = shares["min_pairs"] - 1
    for user, splits in own.items():
        describing = splits.count("shots") if user in shares["unseen"] else splits.count("train") - 1
        assert describing >= shots
    decided = {row["user_id"] for row in rows if row["label_0"] != 0.5}
    assert counts["users_with_few_pairs"] == len(decided - set(own))


@settings(max_examples=50, deadline=None)
@given(st.sets(NAMES, max_size=20), st.sets(NAMES, max_size=20), st.floats(0, 1))
def test_a_choice_by_hash_knows_nothing_of_the_other_names(names: set[str], others: set[str], share: float) -> None:
    assert choose_share("user", names | others, share) & names == choose_share("user", names, share)


@pytest.mark.parametrize("split", ["test_seen", "test_unseen"])
def test_every_image_that_moves_into_the_tests_is_found(split: str) -> None:
    """The check against a plain reckoning with sets: each image of a test pair is put into each learnt pair."""
    for test in SOUND:
        if test[5] != split:
            continue
        for number, learnt in enumerate(SOUND):
            if learnt[5] not in ("train", "validation", "shots"):
                continue
            for side in (3, 4):
                leaking = [list(row) for row in SOUND]
                leaking[number][side] = test[side]
                with pytest.raises(UserError, match="image"):
                    check_no_leak(table(*map(tuple, leaking)))
