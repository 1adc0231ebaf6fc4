"""Other people are drawn for each pair by itself, never the pair's own person, and all their pairs alike."""

from __future__ import annotations

import numpy as np
import pytest

from ppd_lightning.errors import UserError
from ppd_lightning.training.other_users import OtherUsers

PEOPLE = np.array([3, 3, 1, 7, 1, 3, 7, 7, 7, 7])
PAIRS = np.arange(100, 110)


def test_others_are_every_pair_of_other_people_equally_often() -> None:
    drawn = OtherUsers(PEOPLE, PAIRS, 6000, seed=5).rows(np.array([0, 2, 9]), np.array([0, 1, 2]))
    for row, others in zip((0, 2, 9), drawn, strict=True):
        found, counts = np.unique(others, return_counts=True)
        assert found.tolist() == np.flatnonzero(PEOPLE[row] != PEOPLE).tolist()
        expected = 6000 / len(found)
        assert (np.abs(counts - expected) < 5 * np.sqrt(expected)).all()


def test_others_depend_on_seed_epoch_and_pair_alone() -> None:
    others = OtherUsers(PEOPLE, PAIRS, 4, seed=5)
    rows, epochs = np.arange(10), np.arange(10) % 3
    together = others.rows(rows, epochs)
    assert together.shape == (10, 4)
    alone = np.concatenate([others.rows(rows[i : i + 1], epochs[i : i + 1]) for i in range(10)])
    np.testing.assert_array_equal(together, alone)
    assert (together != others.rows(rows, epochs + 1)).any()
    assert (together != OtherUsers(PEOPLE, PAIRS, 4, seed=6).rows(rows, epochs)).any()


def test_one_person_alone_is_one_clear_message() -> None:
    with pytest.raises(UserError, match="pairs that are trained on are all of one person"):
        OtherUsers(np.zeros(4), np.arange(4), 2, seed=0)
