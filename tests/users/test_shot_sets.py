"""Shots are drawn by hash from a person's own describing pairs, whatever else is in the table."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ppd_lightning.data.pairs import PAIRS_SCHEMA
from ppd_lightning.errors import UserError
from ppd_lightning.training.groupings import Groupings
from ppd_lightning.users.captions import CaptionVectors
from ppd_lightning.users.rows import UserRows
from ppd_lightning.users.shot_sets import ShotSet, captions_of_users, diverse_sets, nearest_sets, random_sets
from ppd_lightning.users.shots import CaptionAwareShots, DiverseShots, RandomShots, Shots

SPLITS = ("train", "validation", "shots", "test_seen", "test_unseen")


def table(people: dict[str, dict[str, int]]) -> pa.Table:
    """Pairs of each person: how many in each split."""
    made = [
        dict.fromkeys(PAIRS_SCHEMA.names, "-")
        | {"pair_id": f"{user}-{split}-{number}", "user_id": user, "split": split}
        for user, counts in people.items()
        for split, count in counts.items()
        for number in range(count)
    ]
    return pa.Table.from_pylist(made, PAIRS_SCHEMA)


def by_user(pairs: pa.Table, sets: list[ShotSet]) -> dict[str, list[list[str]]]:
    """The pair ids of every set of each person."""
    chosen: dict[str, list[list[str]]] = {}
    for one in sets:
        chosen.setdefault(one.user, []).append(pairs["pair_id"].take(pa.array(one.pairs)).to_pylist())
    return chosen


def choose_shots(pairs: pa.Table, n: int, groupings: int) -> dict[str, list[list[str]]]:
    return by_user(pairs, random_sets(pairs, n, groupings))


def test_each_grouping_is_distinct_pairs_of_the_person() -> None:
    chosen = choose_shots(table({"ann": {"train": 20}, "bob": {"shots": 9}}), 4, 16)
    assert set(chosen) == {"ann", "bob"}
    for user, groupings in chosen.items():
        assert len(groupings) == 16
        for shots in groupings:
            assert len(set(shots)) == 4
            assert all(pair.startswith(f"{user}-") for pair in shots)


def test_only_training_and_shots_pairs_describe() -> None:
    chosen = choose_shots(table({"ann": dict.fromkeys(SPLITS, 6)}), 4, 40)
    splits = {pair.split("-")[1] for shots in chosen["ann"] for pair in shots}
    assert splits == {"train", "shots"}


def test_neither_order_nor_other_people_nor_more_groupings_change_the_draw() -> None:
    pairs = table({"ann": {"train": 20}, "bob": {"train": 20}})
    first = choose_shots(pairs, 4, 8)
    shuffled = pairs.take(pa.array(np.random.default_rng(0).permutation(len(pairs))))
    assert choose_shots(shuffled, 4, 8) == first
    assert choose_shots(table({"ann": {"train": 20}}), 4, 8) == {"ann": first["ann"]}
    assert choose_shots(pairs, 4, 16)["bob"][:8] == first["bob"]


def test_groupings_and_people_differ() -> None:
    chosen = choose_shots(table({"ann": {"train": 30}, "bob": {"train": 30}}), 4, 16)
    assert len({tuple(sorted(shots)) for shots in chosen["ann"]}) == 16
    numbers = {user: [[pair.split("-")[2] for pair in shots] for shots in listed] for user, listed in chosen.items()}
    assert numbers["ann"] != numbers["bob"]


def test_every_pair_can_be_described_without_itself() -> None:
    chosen = choose_shots(table({"ann": {"train": 10}}), 4, 16)["ann"]
    for number in range(10):
        assert any(f"ann-train-{number}" not in shots for shots in chosen)


def test_people_with_too_few_pairs_are_named() -> None:
    people = {"ann": {"train": 4}, "bob": {"train": 3}, "cy": {"shots": 2, "test_unseen": 9}}
    with pytest.raises(UserError, match=r"4 choices are needed .* bob, cy; .*data\.min_pairs=5$"):
        choose_shots(table(people), 4, 2)


def world(people: dict[str, list[int]], seed: int = 0) -> tuple[pa.Table, CaptionVectors]:
    """Training pairs of each person with these captions, and random vectors of the captions."""
    captions = [f"{number:016x}" for number in range(12)]
    made = [
        dict.fromkeys(PAIRS_SCHEMA.names, "-")
        | {"pair_id": f"{user}-{number:02}", "user_id": user, "split": "train", "caption_id": captions[caption]}
        for user, own in people.items()
        for number, caption in enumerate(own)
    ]
    vectors = np.random.default_rng(seed).normal(size=(len(captions), 5)).astype(np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    return pa.Table.from_pylist(made, PAIRS_SCHEMA), CaptionVectors(pa.array(captions), vectors)


people_of_pairs = st.dictionaries(
    st.text("ab/\u00e9 ", min_size=1, max_size=4), st.lists(st.integers(0, 11), min_size=3, max_size=14), min_size=1
)


@settings(max_examples=60, deadline=None)
@given(people_of_pairs, st.integers(1, 3), st.sampled_from(["random", "diverse", "caption_aware"]), st.integers(0, 9))
def test_no_pair_ever_describes_itself(people: dict[str, list[int]], n: int, select: str, seed: int) -> None:
    """Whatever the data, the rows that training takes for a pair hold neither it nor another one of its caption."""
    pairs, captions = world(people, seed)
    if select == "caption_aware":
        asked = {(row["user_id"], row["caption_id"]) for row in pairs.to_pylist()}
        sets = nearest_sets(pairs, n, asked, captions)
    else:
        sets = random_sets(pairs, n, 5) if select == "random" else diverse_sets(pairs, n, 5, captions)
    hexed = [f"{row:016x}" for row in range(len(pairs))]
    pairs = pairs.set_column(0, "pair_id", pa.array(hexed))
    shots = np.array([one.pairs for one in sets], np.int64).reshape(-1, n)
    users, asked_for = tuple(one.user for one in sets), tuple(one.row.rsplit("/", 1)[1] for one in sets)
    rows = UserRows(users, np.zeros((len(sets), 1)), shots, asked_for if select == "caption_aware" else None)
    if not set(people) <= set(users):  # somebody whose pairs all have one caption
        assert select == "caption_aware"
        pairs = pairs.filter(pc.is_in(pairs["user_id"], pa.array(users, pa.string())))
    if not len(pairs):
        return
    found, counts = Groupings(rows, table_of(world(people, seed)[0], hexed)).rows_for(pairs)
    captions_of = world(people, seed)[0]["caption_id"].to_pylist()
    owners = world(people, seed)[0]["user_id"].to_pylist()
    for row, (pair, caption, user) in enumerate(
        zip(*(pairs[name].to_pylist() for name in ("pair_id", "caption_id", "user_id")), strict=True)
    ):
        for own in found[row, : counts[row]]:
            assert int(pair, 16) not in shots[own]
            assert caption not in {captions_of[shot] for shot in shots[own]}
            assert {owners[shot] for shot in shots[own]} == {user}


def table_of(pairs: pa.Table, ids: list[str]) -> pa.Table:
    return pairs.set_column(0, "pair_id", pa.array(ids))


def test_diverse_shots_are_farther_apart_than_random_ones() -> None:
    people = {f"person {number}": list(range(12)) for number in range(40)}
    pairs, captions = world(people)

    def nearest(sets: list[ShotSet]) -> float:
        vectors = [captions.of(pairs["caption_id"].take(pa.array(one.pairs))) for one in sets]
        return float(np.mean([(own @ own.T)[~np.eye(len(own), dtype=bool)].max() for own in vectors]))

    diverse = diverse_sets(pairs, 3, 8, captions)
    assert nearest(diverse) < nearest(random_sets(pairs, 3, 8)) - 0.1
    assert diverse_sets(pairs, 3, 8, captions) == diverse
    for listed in by_user(pairs, diverse).values():
        assert len({pair for shots in listed for pair in shots}) > 6  # groupings see different halves
        assert all(any(pair not in shots for shots in listed) for pair in listed[0])


def test_nearest_shots_are_the_nearest_by_cosine_without_the_caption_itself() -> None:
    pairs, captions = world({"ann": [0, 1, 2, 3, 4, 5, 5], "bob": [5, 6, 7]})
    sets = nearest_sets(pairs, 2, [("ann", captions.ids[5].as_py()), ("ann", captions.ids[9].as_py())], captions)
    assert [one.row for one in sets] == [f"ann/{captions.ids[number].as_py()}" for number in (5, 9)]
    for one, target, allowed in zip(sets, (5, 9), ([0, 1, 2, 3, 4], [0, 1, 2, 3, 4, 5, 6]), strict=True):
        own = [0, 1, 2, 3, 4, 5, 5]
        near = sorted(allowed, key=lambda row: -float(captions.vectors[own[row]] @ captions.vectors[target]))
        assert list(one.pairs) == near[:2]


def test_somebody_with_too_few_other_captions_has_no_set_for_a_caption() -> None:
    pairs, captions = world({"ann": [1, 1, 1, 2]})
    asked = [("ann", captions.ids[number].as_py()) for number in (1, 2)]
    assert [one.row for one in nearest_sets(pairs, 2, asked, captions)] == [f"ann/{captions.ids[2].as_py()}"]


def test_each_part_of_the_group_shots_chooses_its_sets_and_reads_captions_only_where_they_count() -> None:
    pairs, captions = world({"ann": [0, 1, 2, 3, 4, 5], "bob": [5, 6, 7, 1]})

    def unread() -> CaptionVectors:
        raise AssertionError("the captions were read")

    def sets(shots: Shots, asked: list[tuple[str, str]] | None = None) -> list[ShotSet]:
        return shots.sets(pairs, (lambda: captions) if shots.uses_captions else unread, asked)

    assert sets(RandomShots(n=2, groupings=3, select="random")) == random_sets(pairs, 2, 3)
    assert sets(DiverseShots(n=2, groupings=3, select="diverse")) == diverse_sets(pairs, 2, 3, captions)
    nearest = CaptionAwareShots(n=2, groupings=3, select="caption_aware")
    assert sets(nearest) == nearest_sets(pairs, 2, captions_of_users(pairs), captions)
    asked = [("bob", captions.ids[9].as_py())]
    assert sets(nearest, asked) == nearest_sets(pairs, 2, asked, captions)


def test_captions_of_the_tests_are_nobodys_own() -> None:
    people = {"ann": dict.fromkeys(SPLITS, 2), "bob": {"test_seen": 3}}
    assert captions_of_users(table(people)) == [("ann", "-")]
