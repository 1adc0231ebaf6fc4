"""A few choices to a vector: what the chosen pictures have, and what they have more of than the others.

N = images, F = features, P = principal components, S = shots, R = rows, E = width of an embedding.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass

import numpy as np

BLOCK = 1024
"""Rows that are projected at once."""


@dataclass(frozen=True)
class PrincipalAxes:
    """Features of images on their first principal axes, as they were fitted to some images.

    mean, deviation: (F,) of these images. axes: (F, P).
    """

    mean: np.ndarray
    deviation: np.ndarray
    axes: np.ndarray

    @classmethod
    def fitted(cls, features: np.ndarray, count: int) -> PrincipalAxes:
        """Of standardised features (N, F); P = min(count, rank)."""
        features = features.astype(np.float64)
        deviation = features.std(0)
        mean, deviation = features.mean(0), np.where(deviation > 1e-8, deviation, 1)
        _, strength, axes = np.linalg.svd((features - mean) / deviation, full_matrices=False)
        kept = min(count, int((strength > 1e-6 * strength[0]).sum()))
        return cls(mean, deviation, np.ascontiguousarray((axes[:kept] * _signs(axes[:kept])[:, None]).T))

    def components(self, features: np.ndarray) -> np.ndarray:
        """Features (N, F) of any images to (N, P) float64."""
        return projected((features.astype(np.float64) - self.mean) / self.deviation, self.axes)


def projected(vectors: np.ndarray, axes: np.ndarray) -> np.ndarray:
    """Vectors (N, F) on axes (F, P), (N, P) float64, each row to the same bits beside whichever others.

    A product of matrices adds in an order that depends on their shapes; this one adds one feature after the other.
    """
    found = np.zeros((len(vectors), axes.shape[1]))
    for begin in range(0, len(vectors), BLOCK):
        block = found[begin : begin + BLOCK]
        for feature, axis in enumerate(axes):
            block += vectors[begin : begin + BLOCK, feature, None] * axis
    return found


def describe_choices(liked: np.ndarray, others: np.ndarray) -> np.ndarray:
    """The mean of the preferred images and the mean difference to the others, (..., 2 P); the shots' order is nothing.

    Args:
        liked, others: (..., S, P) of the images of the shots.
    """
    return np.concatenate([_mean_of_shots(liked), _mean_of_shots(liked - others)], axis=-1)


def _mean_of_shots(values: np.ndarray) -> np.ndarray:
    """(..., S, P) to (..., P), to the same bits in whichever order the shots are."""
    total: np.ndarray = functools.reduce(np.add, np.moveaxis(np.sort(values, axis=-2), -2, 0))
    means: np.ndarray = total / values.shape[-2]
    return means


def discriminant_axes(vectors: np.ndarray, users: np.ndarray, count: int) -> np.ndarray:
    """The directions in which users differ most, compared with how one user's rows differ: (F, min(count, F)).

    Fisher's linear discriminants, the classes being the users themselves: nothing is known of what they like. They keep
    what a few choices tell about a person and leave out what those few happened to show.

    Args:
        vectors: (R, F), of the users that are trained on.
        users: (R,) int, whose each row is.
    """
    _, user, counts = np.unique(users, return_inverse=True, return_counts=True)
    sums = np.zeros((len(counts), vectors.shape[1]))
    np.add.at(sums, user, vectors)
    own = sums / counts[:, None]
    inside, between = vectors - own[user], own - own.mean(0)
    scatter = inside.T @ inside / len(inside)
    # A little of the identity, for directions in which nobody's rows differ (one row each, few users).
    scatter += 1e-4 * np.trace(between.T @ between / len(between) + scatter) / len(scatter) * np.eye(len(scatter))
    strength, axes = np.linalg.eigh(scatter)
    whiten = axes / np.sqrt(strength)
    ratio, turned = np.linalg.eigh(whiten.T @ (between.T @ between / len(between)) @ whiten)
    found = (whiten @ turned[:, np.argsort(ratio)[::-1][:count]]).T
    axes_of_users: np.ndarray = (found * _signs(found)[:, None]).T
    return axes_of_users


def _signs(axes: np.ndarray) -> np.ndarray:
    """A sign for each of the axes (P, F): an axis and its opposite are one, so the largest entry is made positive."""
    signs: np.ndarray = np.sign(axes[np.arange(len(axes)), np.abs(axes).argmax(1)])
    return signs
