"""Shots are drawn by hash from a person's own describing pairs, whatever else is in the table."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest

from ppd_lightning.data.pairs import PAIRS_SCHEMA
from ppd_lightning.run.errors import UserError
from ppd_lightning.users.shots import choose_shots

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
    places = {user: [[pair.split("-")[2] for pair in shots] for shots in listed] for user, listed in chosen.items()}
    assert places["ann"] != places["bob"]


def test_every_pair_can_be_described_without_itself() -> None:
    chosen = choose_shots(table({"ann": {"train": 10}}), 4, 16)["ann"]
    for number in range(10):
        assert any(f"ann-train-{number}" not in shots for shots in chosen)


def test_people_with_too_few_pairs_are_named() -> None:
    people = {"ann": {"train": 4}, "bob": {"train": 3}, "cy": {"shots": 2, "test_unseen": 9}}
    with pytest.raises(UserError, match=r"4 choices are needed .* bob, cy; .*data\.min_pairs=5$"):
        choose_shots(table(people), 4, 2)
