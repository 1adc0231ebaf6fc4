"""Comparisons are spread evenly, never twice the same, and follow from the names alone."""

from __future__ import annotations

from collections import Counter

from ppd_lightning.evaluation.comparisons.selection import choose_comparisons

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


def test_several_noises_a_caption_are_counted_and_are_the_first_of_more() -> None:
    chosen = choose_comparisons("seen", USERS, CAPTIONS, SEEDS, 9, seeds_each=2)
    assert len(chosen) == len(set(chosen)) == 9
    assert [one.seed for one in chosen[::2]] == [
        one.seed for one in choose_comparisons("seen", USERS, CAPTIONS, SEEDS, 5)
    ]
    for first, second in zip(chosen[:8:2], chosen[1:8:2], strict=True):
        assert (first.user, first.caption) == (second.user, second.caption)
        assert second.seed == SEEDS[(first.seed - SEEDS[0] + 1) % len(SEEDS)]


def test_all_noises_of_all_captions_are_met_once() -> None:
    chosen = choose_comparisons("seen", USERS, CAPTIONS, SEEDS, 3 * 5 * 4, seeds_each=2)
    assert len(set(chosen)) == 60
