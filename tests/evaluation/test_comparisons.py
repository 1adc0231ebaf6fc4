"""Comparisons are spread evenly, never twice the same, and follow from the names alone."""

from __future__ import annotations

from collections import Counter

from ppd_lightning.evaluation.comparisons import choose_comparisons

USERS, CAPTIONS, SEEDS = ["x", "y", "z"], [f"thing {number}" for number in range(5)], range(1000, 1004)


def test_few_users_and_captions_meet_every_noise_before_a_comparison_would_come_again() -> None:
    chosen = choose_comparisons("seen", USERS, CAPTIONS, SEEDS, 3 * 5 * 4)
    assert len(set(chosen)) == 60
    assert set(Counter((one.user, one.caption) for one in chosen).values()) == {4}


def test_a_person_meets_every_caption_before_one_comes_again() -> None:
    chosen = choose_comparisons("seen", USERS, CAPTIONS, SEEDS, 3 * 5)
    assert {(one.user, one.caption) for one in chosen} == {(user, caption) for user in USERS for caption in CAPTIONS}


def test_neither_the_order_of_the_names_nor_the_count_matters() -> None:
    whole = choose_comparisons("seen", USERS, CAPTIONS, SEEDS, 30)
    assert choose_comparisons("seen", USERS[::-1], CAPTIONS[::-1], SEEDS, 10) == whole[:10]
