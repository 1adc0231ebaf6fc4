"""`user=types`: planted types of people are found, and new people are described as those of the data are."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from tests import tiny
from tests.data.handmade import rows, write
from tests.users.test_reward_users import configure

from ppd_lightning.commands import prepare
from ppd_lightning.config.workspace import Workspace
from ppd_lightning.data.pictures import open_picture
from ppd_lightning.users.base_types import base_types
from ppd_lightning.users.choice_regression import choice_weights
from ppd_lightning.users.new_choices import NewChoice
from ppd_lightning.users.shot_sets import random_sets

FEATURES, TYPES, PEOPLE, CHOICES = 12, 3, 60, 40
TASTES = np.linalg.qr(np.random.default_rng(0).normal(size=(FEATURES, TYPES)))[0]
SIDES = ("preferred", "dispreferred")
WHOSE = np.repeat(np.arange(PEOPLE), CHOICES)


def planted(seed: int) -> np.ndarray:
    """Differences (PEOPLE x CHOICES, FEATURES) of noisy choices of people, each of whom has one of the tastes."""
    generator = np.random.default_rng(seed)
    differences = generator.normal(size=(len(WHOSE), FEATURES)) * 5
    odds = (differences * TASTES.T[WHOSE % TYPES]).sum(1)
    chosen = generator.random(len(WHOSE)) < 1 / (1 + np.exp(-odds))
    return differences * np.where(chosen, 1, -1)[:, None]


def test_planted_types_are_found() -> None:
    differences = planted(1)
    types = base_types(differences, WHOSE, TYPES, 1.0)
    cosines = (types / np.linalg.norm(types, axis=0)).T @ TASTES
    assert sorted(cosines.argmax(1)) == [0, 1, 2]
    assert cosines.max(1).min() > 0.97
    np.testing.assert_allclose(((differences @ types) ** 2).mean(0), 1)


def test_few_choices_say_more_by_types_than_by_features() -> None:
    types = base_types(planted(1), WHOSE, TYPES, 1.0)
    choices = planted(2).reshape(PEOPLE, CHOICES, FEATURES)
    right = {}
    for name, axes in (("types", types), ("features", np.eye(FEATURES) / 5)):
        weights = choice_weights(choices[:, :4] @ axes, 1.0)
        right[name] = (np.einsum("rsj,rj->rs", choices[:, 4:] @ axes, weights) > 0).mean()
    assert right["types"] > right["features"] + 0.05


def test_there_are_no_more_types_than_people() -> None:
    kept = WHOSE < 2
    assert base_types(planted(1)[kept], WHOSE[kept] + 7, 8, 1.0).shape == (FEATURES, 2)


@pytest.mark.long
def test_new_people_are_described_as_those_of_the_data(tmp_path: Path) -> None:
    tiny.model_folder(tmp_path / "model")
    write(tmp_path / "source", rows())
    config = configure(tmp_path, "user=types", "user.encoder=codec", "user.types=3")
    prepare.run(config)
    users = Workspace(config).users
    pairs = users.data.read_pairs()
    sets = random_sets(pairs, 3, 1)[:4]
    expected = users.kind.describe(users.using, pairs, sets)
    assert expected.shape == (4, 3)
    assert np.abs(expected).max() > 0.1
    content = {name: open_picture(data) for name, data in users.data.stored_images(users.data.images_table()) if data}
    people = {
        str(number): [
            NewChoice(row["pair_id"], row["caption"], *(content[row[side]] for side in SIDES), row["preferred"])
            for row in pairs.take(pa.array(one.pairs)).to_pylist()
        ]
        for number, one in enumerate(sets)
    }
    fitted = users.kind.fitted(users.using, pairs)
    found = users.kind.describe_new(Workspace(config).instruments, fitted, people)
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-4)
