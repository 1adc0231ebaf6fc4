"""A few choices to a vector: what the chosen pictures have, and what they have more of than the others.

N = images, F = features, P = principal components, R = groupings of all people, S = shots of a grouping.
"""

from __future__ import annotations

import numpy as np


def principal_components(features: np.ndarray, count: int) -> np.ndarray:
    """Features (N, F) to their first `count` principal components (N, P), each with deviation 1; P = min(count, rank).

    Features are standardised first. A component's sign is fixed, so equal features give equal components everywhere.
    """
    features = features.astype(np.float64)
    deviation = features.std(0)
    standard = (features - features.mean(0)) / np.where(deviation > 1e-8, deviation, 1)
    left, strength, axes = np.linalg.svd(standard, full_matrices=False)
    kept = min(count, int((strength > 1e-6 * strength[0]).sum()))
    signs = np.sign(axes[np.arange(kept), np.abs(axes[:kept]).argmax(1)])
    components: np.ndarray = left[:, :kept] * signs * np.sqrt(len(features))
    return components


def describe_choices(components: np.ndarray, preferred: np.ndarray, dispreferred: np.ndarray) -> np.ndarray:
    """The mean of the preferred images and the mean difference to the others, (R, 2 P) float64.

    Args:
        components: (N, P), one row an image.
        preferred, dispreferred: (R, S) rows of the images of each shot.
    """
    liked = components[preferred]
    return np.concatenate([liked.mean(1), (liked - components[dispreferred]).mean(1)], axis=1)


def standardise(vectors: np.ndarray, known: np.ndarray) -> np.ndarray:
    """Vectors (R, E) with mean 0 and deviation 1 in each dimension over the rows `known` (R,) bool; float32."""
    reference = vectors[known]
    deviation = reference.std(0)
    scaled: np.ndarray = ((vectors - reference.mean(0)) / np.where(deviation > 1e-8, deviation, 1)).astype(np.float32)
    return scaled
