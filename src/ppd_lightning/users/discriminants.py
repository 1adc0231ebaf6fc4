"""A few choices to a vector: what the chosen pictures have, and what they have more of than the others.

N = images, F = features, P = principal components, S = shots, R = rows, E = width of an embedding.
"""

from __future__ import annotations

import numpy as np


def principal_components(features: np.ndarray, count: int) -> np.ndarray:
    """Standardised features (N, F) on their first principal axes, (N, P) float64; P = min(count, rank)."""
    features = features.astype(np.float64)
    deviation = features.std(0)
    standard = (features - features.mean(0)) / np.where(deviation > 1e-8, deviation, 1)
    left, strength, axes = np.linalg.svd(standard, full_matrices=False)
    kept = min(count, int((strength > 1e-6 * strength[0]).sum()))
    components: np.ndarray = left[:, :kept] * strength[:kept] * _signs(axes[:kept])
    return components


def describe_choices(components: np.ndarray, preferred: np.ndarray, dispreferred: np.ndarray) -> np.ndarray:
    """The mean of the preferred images and the mean difference to the others, (..., 2 P).

    Args:
        components: (N, P), one row an image.
        preferred, dispreferred: (..., S) rows of the images of the shots.
    """
    liked = components[preferred]
    return np.concatenate([liked.mean(-2), (liked - components[dispreferred]).mean(-2)], axis=-1)


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


def standard(reference: np.ndarray) -> np.ndarray:
    """Centre and scale of `reference` (R, E) in each dimension, (2, E) float64; where nothing differs, the scale is 1.

    What differs by no more than the rounding of float32 does not differ.
    """
    reference = reference.astype(np.float64)
    centre, deviation = reference.mean(0), reference.std(0)
    return np.stack([centre, np.where(deviation > np.maximum(1e-8, 1e-6 * np.abs(centre)), deviation, 1)])


def standardise(vectors: np.ndarray, centre_and_scale: np.ndarray) -> np.ndarray:
    """Vectors (R, E) less the centre, over the scale; float32."""
    scaled: np.ndarray = ((vectors - centre_and_scale[0]) / centre_and_scale[1]).astype(np.float32)
    return scaled


def _signs(axes: np.ndarray) -> np.ndarray:
    """A sign for each of the axes (P, F): an axis and its opposite are one, so the largest entry is made positive."""
    signs: np.ndarray = np.sign(axes[np.arange(len(axes)), np.abs(axes).argmax(1)])
    return signs
