"""Vectors of more choices than a set's are lengthened, so that the branch reads them as it learnt from sets."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence

import numpy as np
import pytest
from PIL import Image

from ppd_lightning.users.describer import Describer
from ppd_lightning.users.exported import ExportedKind
from ppd_lightning.users.new_choices import NewChoice, choices_of_pictures
from ppd_lightning.users.scale import Scale, standardise
from ppd_lightning.users.set_spread import SetSpread

PEOPLE, SETS, SHOTS, CHOICES = 4000, 6, 4, 12
BETWEEN, WITHIN = np.array([0.6, 0.2, 0.1]), np.array([1.6, 3.2, 3.6])  # of a single choice
RANDOM = np.random.default_rng(0)
TASTES = RANDOM.normal(size=(PEOPLE, 1, 3)) * np.sqrt(BETWEEN)
ANSWERS = TASTES + RANDOM.normal(size=(PEOPLE, CHOICES, 3)) * np.sqrt(WITHIN)
DRAWN = RANDOM.random((PEOPLE, SETS, CHOICES)).argsort(2)[:, :, :SHOTS]  # sets share choices
VECTORS = np.take_along_axis(ANSWERS[:, None], DRAWN[..., None], 2).mean(2)
NAMES = [str(person) for person in range(PEOPLE) for _ in range(SETS)]
IDS = (DRAWN + CHOICES * np.arange(PEOPLE)[:, None, None]).reshape(-1, SHOTS)


def fitted() -> SetSpread:
    found = SetSpread.fitted(VECTORS.reshape(-1, 3), NAMES, IDS)
    assert found is not None
    return found


def test_variances_are_those_of_the_population_though_sets_share_choices() -> None:
    found = fitted()
    assert found.within == pytest.approx(WITHIN.sum() / SHOTS, rel=0.01)
    assert found.between == pytest.approx(BETWEEN.sum(), rel=0.05)
    naive = VECTORS.var(1, ddof=1).sum(1).mean()
    assert naive < 0.75 * found.within


def test_the_order_of_rows_is_nothing() -> None:
    order = RANDOM.permutation(len(NAMES))
    turned = SetSpread.fitted(VECTORS.reshape(-1, 3)[order], [NAMES[row] for row in order], IDS[order])
    assert turned is not None
    assert turned.within == pytest.approx(fitted().within, rel=1e-12)
    assert turned.between == pytest.approx(fitted().between, rel=1e-12)


@pytest.mark.parametrize("choices", [8, 16, 64])
def test_what_is_learnt_from_sets_guesses_best_by_lengthened_vectors(choices: int) -> None:
    """The slope by which sets tell a person's vector is that by which lengthened vectors of more choices do."""

    def slope(vectors: np.ndarray, tastes: np.ndarray) -> float:
        return float((vectors * tastes).sum() / (vectors**2).sum())

    new = TASTES[:, 0] + RANDOM.normal(size=(PEOPLE, 3)) * np.sqrt(WITHIN / choices)
    stretch = fitted().stretch(choices)
    learnt = slope(VECTORS, np.broadcast_to(TASTES, VECTORS.shape))
    assert slope(new * stretch, TASTES[:, 0]) == pytest.approx(learnt, rel=0.05)
    assert slope(new, TASTES[:, 0]) > 1.3 * learnt
    expected = (BETWEEN.sum() + WITHIN.sum() / SHOTS) / (BETWEEN.sum() + WITHIN.sum() / choices)
    assert stretch == pytest.approx(expected, rel=0.03)


@pytest.mark.parametrize("choices", [1, 3, SHOTS])
def test_vectors_of_no_more_choices_than_a_set_stay(choices: int) -> None:
    assert fitted().stretch(choices) == 1


def test_nothing_is_stretched_where_nothing_differs_and_nothing_is_known_of_one_set_each() -> None:
    same = SetSpread.fitted(np.zeros((4, 2)), ["a", "a", "b", "b"], np.arange(8).reshape(4, 2))
    assert same is not None
    assert same.stretch(9) == 1
    assert SetSpread.fitted(RANDOM.normal(size=(3, 2)), ["a", "b", "b"], np.array([[0, 1], [2, 3], [3, 2]])) is None
    assert SetSpread.of_facts(SetSpread(0.1, 1 / 3, 3).facts()) == SetSpread(0.1, 1 / 3, 3)


def colours(pictures: Sequence[Image.Image]) -> np.ndarray:
    return np.array([picture.getpixel((0, 0))[:1] for picture in pictures], np.float64)  # type: ignore[index]


def person(choices: int, red: int = 9) -> list[NewChoice]:
    sides = [Image.new("RGB", (1, 1), (value, row, 0)) for row in range(choices) for value in (red, 5)]
    return choices_of_pictures("ann", [(str(row), *sides[2 * row : 2 * row + 2]) for row in range(choices)])


def describer(facts: Mapping[str, object]) -> Describer:
    scale = Scale.fitted(np.array([[3.0, 0.1], [8.0, 4.0], [17.0, 5.0], [9.0, -7.0]]), 4)
    return Describer(scale, {}, {"kind": "features", "shots": 2, "seen_by": "x", **facts})


KIND = ExportedKind("features", colours, "x")


def test_people_of_as_many_choices_as_a_set_keep_every_bit() -> None:
    spread = SetSpread(0.1, 1 / 3, 2)
    one = describer({"spread": spread.facts()})
    vectors = one.describe(KIND, None, {"ann": person(2), "bob": person(5), "eve": person(1)}, "run").vectors
    plain = standardise(np.array([[9.0, 4.0]]), one.scale.standard)[0]
    np.testing.assert_array_equal(vectors["ann"], plain)
    np.testing.assert_array_equal(vectors["bob"], plain * np.float32(spread.stretch(5)))
    np.testing.assert_array_equal(vectors["eve"], plain)


def test_who_is_lengthened_beyond_the_end_is_drawn_back_to_it() -> None:
    one = describer({"spread": SetSpread(0.01, 1.0, 2).facts()})
    found = one.describe(KIND, None, {"ann": person(60, 30)}, "run")
    assert found.facts["ann"]["distance"] > 1
    assert one.scale.distances(found.vectors["ann"][None])[0] == pytest.approx(one.scale.radius, rel=1e-5)


@pytest.mark.parametrize(
    ("facts", "why"), [({}, "an earlier version described"), ({"spread": None}, "nobody has two different sets")]
)
def test_what_is_not_known_is_said_and_vectors_stay(
    facts: Mapping[str, object], why: str, caplog: pytest.LogCaptureFixture
) -> None:
    one = describer(facts)
    one.describe(KIND, None, {"ann": person(2)}, "run")
    assert not caplog.records
    vectors = one.describe(KIND, None, {"ann": person(5)}, "run").vectors
    np.testing.assert_array_equal(vectors["ann"], standardise(np.array([[9.0, 4.0]]), one.scale.standard)[0])
    warnings = [record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING]
    assert len(warnings) == 1
    assert why in warnings[0]
