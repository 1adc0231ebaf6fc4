"""The scale of embeddings: standardised over those who are trained on, and kept within what these are.

R = rows, E = width of an embedding.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from ppd_lightning.users.discriminants import projected

log = logging.getLogger(__name__)

LEAST_PEOPLE = 2
"""Who must be trained on, so that there is something in which people differ."""
WIDEST = 64
"""Of embeddings that are wider the covariance is taken as the identity: standardising has made every variance 1."""


@dataclass(frozen=True)
class Scale:
    """How raw vectors become embeddings.

    A vector that lies clearly further from the centre than any of those who were trained on, as Mahalanobis counts, is
    drawn back to that distance: the branch has never met one like it, and would answer with noise.

    standard: centre and scale of the raw vectors, (2, E). centre: of the standardised ones, (E,). whiten: (E, E), makes
    their covariance the identity; (0, 0) where that is taken as the identity. radius: the largest distance of
    them, and by a share of E / P more for P people, at most twice: so little do they say of others like them.
    """

    standard: np.ndarray
    centre: np.ndarray
    whiten: np.ndarray
    radius: float

    @classmethod
    def fitted(cls, raw: np.ndarray, people: int) -> Scale:
        """Of the raw vectors (R, E) of so many people, who are trained on; a warning where these are few for that."""
        if people < LEAST_PEOPLE:
            log.warning(
                "%d person is trained on, and %d are needed for embeddings that say how people differ; new people will "
                "hardly be distinguished",
                people,
                LEAST_PEOPLE,
            )
        elif people <= raw.shape[1] <= WIDEST:
            log.warning(
                "%d people are trained on, and %d dimensions need %d to say how far from them somebody new is; new "
                "people are drawn back with less certainty",
                people,
                raw.shape[1],
                raw.shape[1] + 1,
            )
        scale = standard(raw)
        vectors = standardise(raw, scale).astype(np.float64)
        centre, (rows, width) = vectors.mean(0), vectors.shape
        whiten = np.empty((0, 0))
        if width <= WIDEST:
            covariance = np.cov(vectors.T, bias=True).reshape(width, width)
            # So much of the identity as there are numbers to be estimated for each row (shrinkage).
            share = width / (rows + width)
            covariance = (1 - share) * covariance + share * max(np.trace(covariance) / width, 1e-6) * np.eye(width)
            whiten = np.linalg.inv(np.linalg.cholesky(covariance)).T
        unbounded = cls(scale, centre, whiten, np.inf)
        radius = float(unbounded.distances(vectors).max()) * (1 + min(width / people, 1))
        return cls(scale, centre, whiten, radius)

    def distances(self, vectors: np.ndarray) -> np.ndarray:
        """How far standardised vectors (R, E) are from the centre, (R,)."""
        apart = vectors.astype(np.float64) - self.centre
        if self.whiten.size:
            apart = projected(apart, self.whiten)
        lengths: np.ndarray = np.sqrt((apart**2).sum(1))
        return lengths

    def embeddings(self, raw: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Raw vectors (R, E) to embeddings (R, E) float32, and how many times the radius each was away, (R,)."""
        vectors = standardise(raw, self.standard)
        ratio = self.distances(vectors) / max(self.radius, 1e-12)
        far = ratio > 1
        drawn = self.centre + (vectors[far] - self.centre) / ratio[far, None]
        vectors[far] = drawn.astype(np.float32)
        return vectors, ratio

    def covariance(self) -> np.ndarray:
        """Of the standardised vectors, (E, E), as the distances take it."""
        return np.linalg.inv(self.whiten @ self.whiten.T) if self.whiten.size else np.eye(len(self.centre))

    def arrays(self) -> dict[str, np.ndarray]:
        """What `of_arrays` takes back."""
        return {
            "standard": self.standard,
            "centre": self.centre,
            "whiten": self.whiten,
            "radius": np.array([self.radius]),
        }

    @classmethod
    def of_arrays(cls, arrays: Mapping[str, np.ndarray]) -> Scale:
        """The scale of `arrays`; a KeyError where one is missing."""
        return cls(arrays["standard"], arrays["centre"], arrays["whiten"], float(arrays["radius"][0]))


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
