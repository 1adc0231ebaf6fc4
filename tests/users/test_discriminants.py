"""The vector of a person is plain linear algebra: closed forms and planted people."""

from __future__ import annotations

import numpy as np
import pytest

from ppd_lightning.users.discriminants import (
    PrincipalAxes,
    describe_choices,
    discriminant_axes,
)
from ppd_lightning.users.scale import standard, standardise

FEATURES = np.random.default_rng(0).normal(size=(50, 6)) @ np.random.default_rng(1).normal(size=(6, 6)) * 3 + 7


def components_of(features: np.ndarray, count: int) -> np.ndarray:
    return PrincipalAxes.fitted(features, count).components(features)


def axes_of(vectors: np.ndarray, count: int) -> np.ndarray:
    """The discriminants of people with equally many rows each, (people, rows, F)."""
    people, rows, width = vectors.shape
    return discriminant_axes(vectors.reshape(-1, width), np.repeat(np.arange(people), rows), count)


def test_principal_components_are_the_eigenvectors_of_the_correlations() -> None:
    """Independent of the SVD: the variance of component k is the k-th eigenvalue, and components do not correlate."""
    components = components_of(FEATURES, 4)
    eigenvalues = np.linalg.eigvalsh(np.corrcoef(FEATURES.T))[::-1]
    np.testing.assert_allclose(np.cov(components.T, bias=True), np.diag(eigenvalues[:4]), atol=1e-9)


def test_all_components_keep_every_distance() -> None:
    components = components_of(FEATURES, 100)
    standard = (FEATURES - FEATURES.mean(0)) / FEATURES.std(0)
    assert components.shape == (50, 6)
    np.testing.assert_allclose(components @ components.T, standard @ standard.T, atol=1e-8)


def test_components_do_not_depend_on_the_order_of_the_images() -> None:
    order = np.random.default_rng(2).permutation(len(FEATURES))
    np.testing.assert_allclose(components_of(FEATURES[order], 3), components_of(FEATURES, 3)[order])


def test_a_feature_that_is_always_the_same_tells_nothing() -> None:
    constant = np.concatenate([FEATURES, np.full((50, 1), 5.0)], axis=1)
    np.testing.assert_allclose(components_of(constant, 10), components_of(FEATURES, 10), atol=1e-9)


def test_choices_are_described_by_mean_liked_and_mean_difference() -> None:
    components = np.array([[1.0, 0.0], [0.0, 1.0], [2.0, 4.0], [5.0, 5.0]])
    found = describe_choices(components[np.array([[[0, 2]]])], components[np.array([[[1, 3]]])])
    assert found.shape == (1, 1, 4)
    assert found[0, 0].tolist() == [1.5, 2.0, (1 - 0 + 2 - 5) / 2, (0 - 1 + 4 - 5) / 2]


def test_discriminants_find_what_tells_people_apart_among_louder_noise() -> None:
    """People differ along one direction by less than their groupings do along the others."""
    generator = np.random.default_rng(3)
    direction = np.array([1.0, 1.0, 0.0, 0.0, 0.0]) / np.sqrt(2)
    people = generator.normal(size=(200, 1, 1)) * direction
    noise = generator.normal(size=(200, 8, 5)) * np.array([0.3, 0.3, 5.0, 5.0, 5.0])
    axes = axes_of(people + noise, 1)
    assert axes.shape == (5, 1)
    found = ((people + noise).mean(1) @ axes)[:, 0]
    assert abs(np.corrcoef(found, people[:, 0] @ direction)[0, 1]) > 0.98


def test_discriminants_are_ordered_and_have_equal_spread_within_a_person() -> None:
    generator = np.random.default_rng(4)
    people = generator.normal(size=(300, 1, 4)) * np.array([0.5, 3.0, 1.0, 2.0])
    vectors = people + generator.normal(size=(300, 10, 4))
    projected = vectors @ axes_of(vectors, 4)
    within = projected - projected.mean(1, keepdims=True)
    np.testing.assert_allclose(np.cov(within.reshape(-1, 4).T, bias=True), np.eye(4), atol=0.01)
    spread = projected.mean(1).std(0)
    assert (np.diff(spread) < 0).all()
    assert spread[0] == pytest.approx(3 / np.sqrt(0.9), rel=0.1)  # within is measured about the mean of ten


def test_more_discriminants_than_features_are_not_to_be_had() -> None:
    assert axes_of(np.random.default_rng(5).normal(size=(20, 3, 4)), 9).shape == (4, 4)


def test_one_grouping_each_is_enough_to_have_axes() -> None:
    assert np.isfinite(axes_of(np.random.default_rng(6).normal(size=(20, 1, 4)), 2)).all()


def test_people_may_have_different_numbers_of_rows_in_any_order() -> None:
    """A person's centre is the mean of their own rows, so repeating all rows of everybody changes nothing."""
    generator = np.random.default_rng(7)
    users = generator.permutation(np.repeat(np.arange(30), generator.integers(1, 6, 30)))
    vectors = generator.normal(size=(30, 4))[users] * np.arange(1, 5) + generator.normal(size=(len(users), 4))
    axes = discriminant_axes(vectors, users, 4)
    order = np.argsort(users, kind="stable")
    np.testing.assert_allclose(discriminant_axes(vectors[order], users[order] * 7 + 3, 4), axes, atol=1e-9)
    np.testing.assert_allclose(discriminant_axes(np.tile(vectors, (2, 1)), np.tile(users, 2), 4), axes, atol=1e-9)


def test_rounding_of_float32_is_no_difference() -> None:
    vectors = np.full((9, 2), 3.3, np.float32)
    vectors[4, 0] = np.nextafter(np.float32(3.3), np.float32(4))
    vectors[5, 1] = 3.4
    found = standardise(vectors, standard(vectors))
    assert np.abs(found[:, 0]).max() < 1e-6
    assert found[:, 1].std() == pytest.approx(1, abs=1e-5)


def test_vectors_are_standardised_over_the_reference_alone() -> None:
    reference = FEATURES[:30]
    found = standardise(FEATURES, standard(reference))
    assert found.dtype == np.float32
    np.testing.assert_allclose(found[:30].mean(0), 0, atol=1e-5)
    np.testing.assert_allclose(found[:30].std(0), 1, atol=1e-5)
    np.testing.assert_allclose(found[30:], (FEATURES[30:] - reference.mean(0)) / reference.std(0), rtol=1e-5)
