"""The other person of a comparison: never oneself, of one's own group, and where it can be one who is drawn anyway."""

from __future__ import annotations

import random

from ppd_lightning.evaluation.comparisons.others import choose_others
from ppd_lightning.evaluation.comparisons.selection import Comparison

PEOPLE = {"seen": [f"s{number}" for number in range(9)], "unseen": ["u0", "u1", "u2"]}
CROWDED = [
    Comparison(group, user, caption, 0)
    for group, users in PEOPLE.items()
    for user in users
    for caption in ("cat", "dog")
]


def test_another_person_of_the_same_group_whose_image_is_drawn_anyway() -> None:
    for one, other in zip(CROWDED, choose_others(CROWDED, PEOPLE), strict=True):
        assert other is not None
        assert other != one.user
        assert Comparison(one.group, other, one.caption, one.seed) in CROWDED


def test_who_it_is_varies_and_does_not_depend_on_the_order() -> None:
    chosen = dict(zip(CROWDED, choose_others(CROWDED, PEOPLE), strict=True))
    shuffled = random.Random(0).sample(CROWDED, len(CROWDED))
    assert dict(zip(shuffled, choose_others(shuffled, PEOPLE), strict=True)) == chosen
    assert len({chosen[one] for one in CROWDED if one.group == "seen"}) > 4


def test_where_nobody_else_is_drawn_it_is_anybody_of_the_group() -> None:
    lonely = [Comparison("seen", user, f"caption {user}", 0) for user in PEOPLE["seen"]]
    for one, other in zip(lonely, choose_others(lonely, PEOPLE), strict=True):
        assert other in set(PEOPLE["seen"]) - {one.user}


def test_one_person_alone_has_no_other() -> None:
    assert choose_others([Comparison("seen", "s0", "cat", 0)], {"seen": ["s0"]}) == [None]
