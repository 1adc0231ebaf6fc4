"""The oracle is Bayes' rule over the world's own people: nothing that sees only the shots does better."""

from __future__ import annotations

import numpy as np
import pytest

from ppd_lightning.worlds.emoji.oracle import Oracle
from ppd_lightning.worlds.emoji.people import Choices, People, choose, make_people, world_utilities

STYLES, STATISTICS, TEMPERATURE, SHOTS = ("flat", "line", "round", "bold"), ("brightness", "clutter"), 0.5, 4
WORLD = np.random.default_rng(0).normal(size=(30, 4, 2)) + np.random.default_rng(1).normal(size=(1, 4, 2))
ASKED = np.arange(20, 30)


@pytest.fixture(scope="module")
def oracle() -> Oracle:
    return Oracle(WORLD, STYLES, STATISTICS, TEMPERATURE, imagined=2000)


@pytest.fixture(scope="module")
def people() -> People:
    return make_people([f"person {number}" for number in range(200)], 5, STYLES, STATISTICS, WORLD)


@pytest.fixture(scope="module")
def choices(people: People) -> Choices:
    return choose(people, WORLD, SHOTS, TEMPERATURE, 6)


def test_posterior_is_bayes_rule(oracle: Oracle) -> None:
    """Prior (even) times the softmax of every shot, by hand for a few imagined people."""
    concepts, picked = np.array([3, 7, 7, 12]), np.array([0, 2, 2, 1])
    likelihood = np.ones(len(oracle.utility))
    for concept, style in zip(concepts, picked, strict=True):
        odds = np.exp(oracle.utility[:, concept].astype(np.float64) / TEMPERATURE)
        likelihood *= odds[:, style] / odds.sum(1)
    np.testing.assert_allclose(oracle.posterior(concepts, picked), likelihood / likelihood.sum(), rtol=1e-4)


def test_without_shots_everybody_imagined_is_as_likely(oracle: Oracle) -> None:
    nothing = np.array([], int)
    np.testing.assert_allclose(oracle.posterior(nothing, nothing), 1 / 2000)


def test_many_choices_find_the_person_out(oracle: Oracle) -> None:
    """With a hundred choices the expected utilities come close to the true ones of someone the oracle never met."""
    person = make_people(["somebody"], 9, STYLES, STATISTICS, WORLD)
    made = choose(person, WORLD, 100, TEMPERATURE, 1)
    expected = oracle.expected_utilities(made.concept, made.picked, ASKED)
    truth = world_utilities(person, WORLD)[0, ASKED]
    assert np.corrcoef(expected.ravel(), truth.ravel())[0, 1] > 0.9


def test_it_shows_the_picture_with_the_highest_expected_utility(oracle: Oracle) -> None:
    shots = (np.array([1, 2]), np.array([3, 3]))
    expected = oracle.expected_utilities(*shots, ASKED)
    assert expected.shape == (len(ASKED), len(STYLES))
    assert (oracle.styles_for(*shots, ASKED) == expected.argmax(1)).all()


def test_it_beats_the_most_picked_style_the_popular_style_and_chance(
    oracle: Oracle, people: People, choices: Choices
) -> None:
    utility = world_utilities(people, WORLD)
    gained: dict[str, list[float]] = {"oracle": [], "most picked": [], "chance": []}
    for person in range(len(people.ids)):
        own = choices.person == person
        concepts, picked = choices.concept[own], choices.picked[own]
        shown = {
            "oracle": oracle.styles_for(concepts, picked, ASKED),
            "most picked": np.full(len(ASKED), np.bincount(picked).argmax()),
        }
        for name, styles in shown.items():
            gained[name].append(utility[person, ASKED, styles].mean())
        gained["chance"].append(utility[person, ASKED].mean())
    mean = {name: np.mean(values) for name, values in gained.items()}
    assert mean["oracle"] > mean["most picked"] > mean["chance"]
    best = utility[:, ASKED].max(2).mean()
    assert 0.6 * best < mean["oracle"] < best


def test_the_imagined_people_are_not_the_worlds(oracle: Oracle) -> None:
    """Not even with the world's own seed, for the names differ."""
    world = make_people([str(number + 1) for number in range(50)], 0, STYLES, STATISTICS, WORLD)
    liked = world_utilities(world, WORLD).reshape(50, -1)
    nearest = np.abs(oracle.utility.reshape(2000, 1, -1)[:, :, :8] - liked[None, :, :8]).max(2).min()
    assert nearest > 1e-4
