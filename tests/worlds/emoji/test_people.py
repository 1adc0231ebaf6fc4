"""Simulated people have tastes of unit size and choose by them; each depends on nobody else."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest

from ppd_lightning.errors import UserError
from ppd_lightning.worlds.emoji.people import (
    People,
    choose,
    make_people,
    read_people,
    utilities,
    world_utilities,
    write_people,
)

STYLES, STATISTICS = ("flat", "round", "loud", "odd"), ("colour", "light", "noise")
WORLD = np.random.default_rng(0).gamma(2.0, [1.0, 50.0, 0.01], (40, 4, 3))
IDS = [str(number) for number in range(1, 301)]


@pytest.fixture(scope="module")
def people() -> People:
    return make_people(IDS, 0, STYLES, STATISTICS, WORLD)


def test_utilities_have_mean_zero_and_deviation_one_over_the_world(people: People) -> None:
    liked = world_utilities(people, WORLD).reshape(len(IDS), -1)
    np.testing.assert_allclose(liked.mean(1), 0, atol=1e-9)
    np.testing.assert_allclose(liked.std(1), 1, atol=1e-9)


def test_a_utility_is_the_sum_of_its_parts(people: People) -> None:
    one = people.select(["17"])
    probabilities, statistics = np.array([[0.2, 0.5, 0.3, 0.0]]), np.array([[2.0, 70.0, 0.01]])
    standard = (statistics[0] - WORLD.reshape(-1, 3).mean(0)) / WORLD.reshape(-1, 3).std(0)
    expected = sum(one.style_weights[0] * probabilities[0]) + sum(one.statistic_weights[0] * standard)
    assert utilities(one, probabilities, statistics).item() == pytest.approx(expected, abs=1e-12)


def test_style_is_most_of_a_taste_and_every_style_is_somebodys_favourite(people: People) -> None:
    by_style = world_utilities(people, WORLD).mean(1)  # (P, S)
    assert (by_style.var(1) > 0.5).mean() > 0.9
    favourites = np.bincount(by_style.argmax(1), minlength=4) / len(IDS)
    assert (favourites > 0.15).all()


def test_a_person_depends_on_the_seed_and_the_own_id_alone(people: People) -> None:
    fewer = make_people(["250", "3"], 0, STYLES, STATISTICS, WORLD)
    np.testing.assert_array_equal(fewer.style_weights, people.select(["250", "3"]).style_weights)
    other = make_people(["250", "3"], 1, STYLES, STATISTICS, WORLD)
    assert not np.isclose(other.style_weights, fewer.style_weights).any()
    chosen, alone = choose(people, WORLD, 10, 0.5, 0), choose(people.select(["250"]), WORLD, 10, 0.5, 0)
    of_one = chosen.person == 249
    for ours, theirs in ((chosen.concept, alone.concept), (chosen.picked, alone.picked), (chosen.other, alone.other)):
        np.testing.assert_array_equal(ours[of_one], theirs)


def test_choices_follow_the_plackett_luce_probabilities(people: People) -> None:
    one, world, temperature = people.select(["5"]), WORLD[:1], 0.7
    chosen = choose(one, world, 20_000, temperature, 0)
    exponents = np.exp(world_utilities(one, world)[0, 0] / temperature)
    expected = exponents / exponents.sum()
    found = np.bincount(chosen.picked, minlength=4) / 20_000
    np.testing.assert_allclose(found, expected, atol=0.015)
    for picked in range(4):
        others = np.bincount(chosen.other[chosen.picked == picked], minlength=4)
        assert others[picked] == 0
        rest = np.delete(others, picked) / max(1, others.sum())
        np.testing.assert_allclose(rest, 1 / 3, atol=0.2 if others.sum() < 300 else 0.05)


def test_a_person_meets_every_concept_before_one_comes_again(people: People) -> None:
    chosen = choose(people.select(["1", "2"]), WORLD, 90, 0.5, 0)
    for person in (0, 1):
        met = chosen.concept[chosen.person == person]
        assert len(met) == 90
        assert sorted(met[:40]) == sorted(met[40:80]) == list(range(40))
        assert len(set(met[80:])) == 10


def test_four_choices_tell_the_favourite_style_of_most_people(people: People) -> None:
    """The posterior over a bank of other people, given four choices: what an ideal observer knows."""
    bank = make_people([f"bank {number}" for number in range(3000)], 0, STYLES, STATISTICS, WORLD)
    logits = world_utilities(bank, WORLD) / 0.5
    logits -= np.log(np.exp(logits).sum(2, keepdims=True))
    favourite = world_utilities(bank, WORLD).mean(1).argmax(1)
    truth = world_utilities(people, WORLD).mean(1).argmax(1)
    shots = choose(people, WORLD, 4, 0.5, 0)
    right = 0
    for person in range(len(IDS)):
        own = shots.person == person
        likelihood = np.exp(logits[:, shots.concept[own], shots.picked[own]].sum(1))
        right += np.bincount(favourite, likelihood, minlength=4).argmax() == truth[person]
    assert 0.8 < right / len(IDS) < 0.97


def test_people_come_back_from_their_file(tmp_path: Path, people: People) -> None:
    write_people(tmp_path / "people.json", people)
    back = read_people(tmp_path / "people.json")
    assert (back.ids, back.styles, back.statistics) == (people.ids, people.styles, people.statistics)
    for name in ("style_weights", "statistic_weights", "centre", "scale"):
        np.testing.assert_array_equal(getattr(back, name), getattr(people, name))


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"people": {"1": {}}}'])
def test_a_damaged_or_missing_file_is_one_clear_message(tmp_path: Path, text: str) -> None:
    path = tmp_path / "people.json"
    with pytest.raises(UserError, match="the simulated people are missing; run `ppd prepare`"):
        read_people(path)
    path.write_text(text)
    with pytest.raises(UserError, match=re.escape(f"{path}: damaged")):
        read_people(path)


def test_a_statistic_that_never_varies_cannot_be_liked() -> None:
    with pytest.raises(ValueError, match="the same for every picture"):
        make_people(["1"], 0, STYLES, STATISTICS, np.ones((5, 4, 3)))
