"""The pair that is shown next: planted people in a world of colours, and what the criterion is by hand.

A picture is one colour, its features are that colour, and people like a direction of colours.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest
from PIL import Image

from ppd_lightning.errors import UserError
from ppd_lightning.users.choice_features import vectors_of_new
from ppd_lightning.users.choice_model import ChoiceModel, MeanOfChoices, RegressionOfChoices
from ppd_lightning.users.choice_regression import choice_weights
from ppd_lightning.users.discriminants import describe_choices, discriminant_axes
from ppd_lightning.users.new_choices import NewChoice, Picture, read_pictures
from ppd_lightning.users.next_pair import Pool, expected_cosines, imagined_people
from ppd_lightning.users.scale import Scale, standardise

SHOTS, SETS = 4, 4
RANDOM = np.random.default_rng(0)
TASTES = RANDOM.normal(size=(100, 3))

Pair = tuple[str, Picture, Picture]


def colours(pictures: Sequence[Image.Image]) -> np.ndarray:
    return np.array([picture.getpixel((0, 0)) for picture in pictures], np.float64) / 64 - 2


def made(count: int, generator: np.random.Generator) -> list[Pair]:
    found: list[Pair] = []
    for number in range(count):
        one, other = (tuple(colour) for colour in generator.integers(0, 256, (2, 3)).tolist())
        found.append((str(number), Image.new("RGB", (1, 1), one), Image.new("RGB", (1, 1), other)))
    return found


def answered(pair: Pair, taste: np.ndarray) -> Pair:
    caption, one, other = pair
    assert isinstance(one, Image.Image)
    assert isinstance(other, Image.Image)
    liked = colours([one, other]) @ taste
    return (caption, one, other) if liked[0] > liked[1] else (caption, other, one)


def sets() -> tuple[np.ndarray, np.ndarray]:
    """The preferred colours (people, sets, SHOTS, 3) of choices of many people, and the other ones."""
    sides = []
    for taste in TASTES:
        _, one, other = zip(*[answered(pair, taste) for pair in made(SETS * SHOTS, RANDOM)], strict=True)
        sides.append([colours(one), colours(other)])
    liked, others = np.array(sides).reshape(len(TASTES), 2, SETS, SHOTS, 3).swapaxes(0, 1)
    return liked, others


LIKED, OTHERS = sets()
MEANS = describe_choices(LIKED, OTHERS).reshape(-1, 6)
AXES = discriminant_axes(MEANS, np.repeat(np.arange(len(TASTES)), SETS), 3)
WEIGHTS = choice_weights((LIKED - OTHERS).reshape(-1, SHOTS, 3), 1.0)
MODELS: dict[str, ChoiceModel] = {
    "discriminants": MeanOfChoices(colours, {"discriminants": AXES}, Scale.fitted(MEANS @ AXES, len(TASTES)), SHOTS),
    "no axes": MeanOfChoices(colours, {}, Scale.fitted(MEANS, len(TASTES)), SHOTS),
    "regression": RegressionOfChoices(
        lambda choices: colours([one.preferred for one in choices]) - colours([one.other for one in choices]),
        1.0,
        Scale.fitted(WEIGHTS, len(TASTES)),
    ),
}


def choices(pairs: Sequence[Pair]) -> list[NewChoice]:
    return read_pictures("somebody", pairs)


def vector(model: ChoiceModel, own: Sequence[NewChoice]) -> np.ndarray:
    """As `describe` makes it."""
    if isinstance(model, MeanOfChoices):
        return standardise(vectors_of_new(colours, model.fitted, [own]), model.scale.standard)[0]
    assert isinstance(model, RegressionOfChoices)
    return standardise(choice_weights(model.margins(own)[None], 1.0), model.scale.standard)[0]


@pytest.mark.parametrize("name", MODELS)
def test_a_vector_is_extended_as_it_would_be_described(name: str) -> None:
    model, own = MODELS[name], choices(made(6, np.random.default_rng(1)))
    evidence = model.evidence(own)
    extended = model.extended(evidence[:5, 0], evidence[5:, 0])
    np.testing.assert_allclose(extended[0], vector(model, own), atol=1e-5)
    turned = [*own[:5], choices([("5", own[5].other, own[5].preferred)])[0]]
    np.testing.assert_allclose(model.extended(evidence[:5, 0], evidence[5:, 1])[0], vector(model, turned), atol=1e-5)
    np.testing.assert_allclose(model.extended(evidence[:0, 0], evidence[:1, 0])[0], vector(model, own[:1]), atol=1e-5)


@pytest.mark.parametrize("name", MODELS)
def test_expected_cosines_are_the_plain_double_sum(name: str) -> None:
    model, own = MODELS[name], choices(made(5, np.random.default_rng(2)))
    so_far, evidence = np.split(model.evidence(own), [2])
    people = imagined_people(*model.prior, count=30)
    odds = model.log_odds(people, evidence)
    likely = np.prod(1 / (1 + np.exp(-model.log_odds(people, so_far))), axis=1)
    expected = np.zeros(3)
    for pair in range(3):
        for person, weight in zip(range(30), likely / likely.sum(), strict=True):
            first = 1 / (1 + np.exp(-odds[person, pair]))
            for way, share in ((0, first), (1, 1 - first)):
                made_of = model.extended(so_far[:, 0], evidence[pair : pair + 1, way])[0]
                cosine = made_of @ people[person] / np.linalg.norm(made_of) / np.linalg.norm(people[person])
                expected[pair] += weight * share * cosine
    np.testing.assert_allclose(expected_cosines(model, people, odds, so_far, evidence), expected, atol=1e-8)


@pytest.mark.parametrize("name", MODELS)
def test_shown_pairs_lead_to_the_vector_of_many_choices_faster_than_random_ones(name: str) -> None:
    model, generator = MODELS[name], np.random.default_rng(3)
    pairs, others = made(60, generator), made(64, generator)
    pool, cosines = Pool(model, choices(pairs)), []
    for taste in generator.normal(size=(25, 3)):
        many = vector(model, choices([answered(pair, taste) for pair in others]))
        shown: list[Pair] = []
        for _ in range(3):
            shown.append(answered(pairs[pool.next_pair(choices(shown))], taste))
        drawn = [answered(pairs[row], taste) for row in generator.permutation(60)[:3]]
        cosines.append(
            [
                (found := vector(model, choices(own))) @ many / np.linalg.norm(found) / np.linalg.norm(many)
                for own in (shown, drawn)
            ]
        )
    by_next_pair, by_random = np.mean(cosines, axis=0)
    assert by_next_pair > by_random + 0.03


def test_which_picture_comes_first_and_the_order_of_choices_mean_nothing() -> None:
    model, pairs = MODELS["discriminants"], made(30, np.random.default_rng(4))
    turned = [(caption, other, one) for caption, one, other in pairs]
    own = choices([answered(pair, TASTES[0]) for pair in pairs[:4]])
    found = Pool(model, choices(pairs)).next_pair(own)
    assert found not in range(4)
    assert Pool(model, choices(turned)).next_pair(own[::-1]) == found


def test_two_equal_pictures_are_never_shown() -> None:
    same = ("same", Image.new("RGB", (1, 1), (9, 200, 9)), Image.new("RGB", (1, 1), (9, 200, 9)))
    pairs = [same, *made(1, np.random.default_rng(5))]
    assert Pool(MODELS["no axes"], choices(pairs)).next_pair([]) == 1
    with pytest.raises(UserError, match="no pair of the pool is left that can tell anything"):
        Pool(MODELS["no axes"], choices([same])).next_pair([])
