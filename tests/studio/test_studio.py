"""What visitors can do, without a page and without a network."""

from __future__ import annotations

import math
import threading
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from tests.studio.colours import Colours, settings, shown

from ppd_lightning.errors import UserError
from ppd_lightning.studio.blind_test import BlindTest, win_rate
from ppd_lightning.studio.collection import Collection
from ppd_lightning.studio.pairs import draw_pairs, poles, read_pairs
from ppd_lightning.studio.studio import ME, Studio
from ppd_lightning.studio.visits import Visit, Visits

CAPTIONS = ["a cat", "a boat", "a house", "a tree", "a car", "a <i>dog"]
LIMITS = settings()


def studio(tmp_path: Path | None = None, **changes: object) -> Studio:
    model = Colours()
    collection = None if tmp_path is None else Collection(tmp_path / "kept/choices.csv")
    limits = settings(**changes) if changes else LIMITS
    return Studio(model, shown(), CAPTIONS, limits, (model, ["red", "green", "<b>blue"]), collection)


def pick_red(room: Studio, visit: Visit, count: int = 4) -> None:
    """Always the picture that is red, wherever it stands."""
    for _ in range(count):
        pair = room.shown(visit)
        assert pair is not None
        assert visit.showing is not None
        room.answer(visit, visit.showing, 1 if pair[1] else 0)


def test_four_picks_make_a_vector_and_pictures_beside_the_bases() -> None:
    room = studio()
    visit = room.begin()
    with pytest.raises(UserError, match="Pick 4 more"):
        room.sheet(visit)
    pick_red(room, visit)
    rows = room.sheet(visit)
    assert [row.caption for row in rows] == CAPTIONS[:4]
    assert visit.vector is not None
    assert visit.vector[0] > 0 > visit.vector[2]
    assert [row.own.getpixel((0, 0)) for row in rows] == [(200, 0, 0)] * 4
    assert [row.base.getpixel((0, 0)) for row in rows] == [(0, 0, 0)] * 4
    own, base = room.model.asked[-1], room.model.asked[-2]  # type: ignore[attr-defined]
    assert (own[0], own[2]) == (base[0], base[2]), "the same captions and noise"


def test_sides_are_swapped_for_some_and_a_second_click_changes_nothing() -> None:
    room = studio()
    swaps = set()
    for _ in range(32):
        visit = room.begin()
        pair = room.shown(visit)
        assert pair is not None
        swaps.add(pair[1])
    assert swaps == {False, True}
    room.answer(visit, 0, 0)
    room.answer(visit, 0, 1)
    room.answer(visit, 999, 1)
    assert [pair for pair, _ in visit.answers] == [0]


def test_neither_is_no_choice_and_every_pair_comes_once() -> None:
    room = studio()
    visit = room.begin()
    room.answer(visit, 0, None)
    assert room.left(visit) == 4
    pick_red(room, visit, 7)
    assert room.shown(visit) is None
    assert len({pair for pair, _ in visit.answers}) == 8
    room.again(visit)
    assert (room.left(visit), visit.showing) == (4, 0)


def test_picks_are_taken_back_one_by_one() -> None:
    room = studio()
    visit = room.begin()
    pick_red(room, visit)
    red = room.describe(visit)
    shown = room.shown(visit)
    assert shown is not None
    room.answer(visit, 4, 0 if shown[1] else 1)  # a slip
    assert room.describe(visit)[0] < red[0]
    room.take_back(visit)
    assert (visit.showing, len(visit.answers)) == (4, 4)
    assert room.describe(visit)[0] == red[0]
    for _ in range(9):
        room.take_back(visit)
    assert (visit.showing, room.left(visit)) == (0, 4)


def test_a_training_needs_one_pick_more_than_a_set_has() -> None:
    room = studio()
    visit = room.begin()
    pick_red(room, visit, 3)
    assert room.lacking(visit) == 2
    pick_red(room, visit, 2)
    assert room.lacking(visit) == 0


def test_own_captions_come_first_and_the_scale_and_the_noise_are_the_visitors() -> None:
    room = studio()
    visit = room.begin()
    pick_red(room, visit)
    room.ask(visit, "  a   dragon\u200b ")
    room.strength(visit, 1.5)
    room.other_noise(visit)
    assert [row.caption for row in room.sheet(visit)] == ["a dragon", *CAPTIONS[:3]]
    assert room.model.asked[-1][2:] == (1, 3.0)  # type: ignore[attr-defined]
    room.strength(visit, 99)
    assert visit.guidance == 4.0


@pytest.mark.parametrize(
    ("said", "why"),
    [
        ("", "Write"),
        (" \u200b ", "Write"),
        ("x" * 201, "at most 200"),
        ("x" * 10**6, "at most 200"),
        ("\ud800", "read"),
    ],
)
def test_what_is_no_caption_is_refused(said: str, why: str) -> None:
    room = studio()
    visit = room.begin()
    with pytest.raises(UserError, match=why):
        room.ask(visit, said)
    assert visit.own_captions == []


@pytest.mark.parametrize("number", [math.nan, math.inf, "1", None])
def test_what_is_no_number_is_refused(number: float) -> None:
    room = studio()
    with pytest.raises(UserError, match="no number"):
        room.strength(room.begin(), number)


def test_blends_are_weighted_means() -> None:
    room = studio()
    visit = room.begin()
    assert room.blend(visit, "red", "green", 0.25)[0].own.getpixel((0, 0))[:2] == (191, 63)
    assert room.corner_blend(visit, [1, 3, 0])[0].own.getpixel((0, 0))[:2] == (63, 191)
    for wrong in ([1, 1, 1], [5, -1, 0], [4], [0, 4]):
        with pytest.raises(UserError, match="no such blend"):
            room.corner_blend(visit, wrong)
    with pytest.raises(UserError, match="nobody"):
        room.blend(visit, "red", "somebody", 0.5)
    with pytest.raises(UserError, match="Pick 4 more"):
        room.blend(visit, ME, "red", 0.5)


def test_the_nearest_people_come_first() -> None:
    room = studio()
    visit = room.begin()
    pick_red(room, visit)
    found = room.nearest(visit)
    assert [name for name, _, _ in found] == ["red", "green", "<b>blue"]
    assert found[0][1] == pytest.approx(2**-0.5, abs=0.01)


def test_a_blind_test_counts_wins_whatever_the_order() -> None:
    room = studio()
    visit = room.begin()
    pick_red(room, visit)
    test = room.begin_blind(visit)
    assert len(test.rounds) == 5
    while not test.done:
        _, left, right = test.shown
        test.answer(0 if left.getpixel((0, 0))[0] > right.getpixel((0, 0))[0] else 1)
    assert test.win_rate == (1.0, pytest.approx(0.5655, abs=1e-4), 1.0)
    test.answer(0)
    assert len(test.liked_own) == 5
    orders = [BlindTest.begin(test.rounds, seed).own_first for seed in range(40)]
    assert 0.35 < np.mean(orders) < 0.65


def test_wilsons_interval_by_hand() -> None:
    assert win_rate(3, 5) == (0.6, pytest.approx(0.2307, abs=1e-4), pytest.approx(0.8824, abs=1e-4))
    assert win_rate(0, 0)[1:] == (0.0, 1.0)


def test_a_gallery_has_bounds_and_pictures_that_are_gone_are_refused() -> None:
    room = studio()
    visit = room.begin()
    pick_red(room, visit)
    number = room.sheet(visit)[0].number
    visit.keep(number)
    assert visit.gallery == [number]
    visit.keep(number)
    assert visit.gallery == []
    with pytest.raises(UserError, match="gone"):
        visit.keep(10**6)


def test_drawing_too_often_is_refused_for_a_while() -> None:
    now = [0.0]
    room = studio(draws=2)
    room.visits.clock = lambda: now[0]
    visit = room.begin()
    room.blend(visit, "red", "green", 0.5)
    room.blend(visit, "red", "green", 0.5)
    with pytest.raises(UserError, match="wait 60 seconds"):
        room.blend(visit, "red", "green", 0.5)
    now[0] = 61
    room.blend(visit, "red", "green", 0.5)


def test_pictures_of_all_have_bounds_and_choices_stay() -> None:
    room = studio()
    one, other = room.begin(), room.begin()
    for visit in (one, other):
        pick_red(room, visit)
        room.sheet(visit)
    room.visits.make_room(other, room=other.size)
    assert (one.size, len(one.answers)) == (0, 4)
    assert other.size == 4 * 4 * 4 * 3


def test_a_flood_of_visits_forgets_itself() -> None:
    room = studio(visitors=3)
    visit = room.begin()
    pick_red(room, visit, 1)
    for _ in range(10):
        room.begin()
    assert room.visits.of(visit.token) is visit


def test_visits_are_secret_and_the_idlest_is_forgotten() -> None:
    visits = Visits(2)
    first, second = visits.begin(), visits.begin()
    visits.of(first.token)
    third = visits.begin()
    assert [visits.of(one.token) for one in (first, third)] == [first, third]
    for token in (second.token, "", None, "guess"):
        with pytest.raises(UserError, match="ended"):
            visits.of(token)
    assert len({one.token for one in (first, second, third)}) == 3


def test_two_visitors_do_not_meet() -> None:
    room = studio()
    one, other = room.begin(), room.begin()
    faults: list[BaseException] = []

    def works(visit: Visit) -> Callable[[], None]:
        def work() -> None:
            try:
                pick_red(room, visit)
                for _ in range(5):
                    room.sheet(visit)
            except BaseException as error:
                faults.append(error)

        return work

    threads = [threading.Thread(target=works(visit)) for visit in (one, other)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert faults == []
    assert len(one.answers) == len(other.answers) == 4


def test_pairs_are_drawn_for_people_who_are_far_apart_and_read_back(tmp_path: Path) -> None:
    model = Colours()
    assert poles(model.known, 2) == ["<b>blue", "green"]
    draw_pairs(model, CAPTIONS[:3], 6, tmp_path / "pairs.parquet")
    found = read_pairs(str(tmp_path / "pairs.parquet"), "studio.pairs")
    assert {pair.caption for pair in found} <= set(CAPTIONS[:3])
    assert all(pair.files[0] != pair.files[1] for pair in found)
    assert {name for pair in found for name in pair.models} <= {f"drawn for {name}" for name in model.known}
    with pytest.raises(UserError, match=r"studio\.pairs"):
        read_pairs(str(tmp_path / "nothing.csv"), "studio.pairs")
