"""How a person's vector follows from single choices, and how a person of a known vector would choose.

N = choices, S = choices so far, M = people, D = width of what a choice gives, E = width of an embedding.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from ppd_lightning.users.choice_features import PictureEncoder, features_of_new, on_axes
from ppd_lightning.users.choice_regression import choice_weights
from ppd_lightning.users.discriminants import describe_choices
from ppd_lightning.users.new_choices import NewChoice
from ppd_lightning.users.scale import Scale, standardise

UNKNOWN_SHARE = 0.5
"""Of the variance of sets, what is taken for the choice of the set, where no discriminants tell it."""


class ChoiceModel(Protocol):
    """Of a kind of user whose vectors follow from single choices; vectors and people are standardised.

    prior: mean (E,) and covariance (E, E) of people's vectors of many choices.
    """

    @property
    def prior(self) -> tuple[np.ndarray, np.ndarray]:
        """See the class."""

    def evidence(self, choices: Sequence[NewChoice]) -> np.ndarray:
        """What each choice gives, (N, 2, D): as it was made, and had it been made the other way."""

    def extended(self, evidence: np.ndarray, each: np.ndarray) -> np.ndarray:
        """The vector by the choices so far (S, D) and one more, for each of (N, D): (N, E)."""

    def log_odds(self, people: np.ndarray, evidence: np.ndarray) -> np.ndarray:
        """Logarithm of how much likelier people (M, E) make the choices (N, 2, D) than the other way, (M, N)."""


@dataclass(frozen=True)
class MeanOfChoices:
    """For vectors that are means over choices. Each person's choices are taken as normal around the vector of many.

    So a person answers as the linear discriminant between both answers does.

    encode: pictures to features. fitted: see `choice_features.vectors_of_new`. scale: of the embeddings. shots: choices
    of a set in the training.
    """

    encode: PictureEncoder
    fitted: Mapping[str, np.ndarray]
    scale: Scale
    shots: int

    @property
    def prior(self) -> tuple[np.ndarray, np.ndarray]:
        """See `ChoiceModel`: of the training's sets, less what the choice of a set makes of it."""
        strength, axes = np.linalg.eigh(self.scale.covariance() - np.diag(self._noise / self.shots))
        return self.scale.centre, (axes * np.maximum(strength, 1e-6)) @ axes.T

    def evidence(self, choices: Sequence[NewChoice]) -> np.ndarray:
        """See `ChoiceModel`: the vector that each choice alone makes; D is E."""
        sides = features_of_new(self.encode, self.fitted, choices)
        ways = np.stack([sides, sides[:, ::-1]], 1)  # (N, 2, 2, F)
        vectors = describe_choices(ways[:, :, :1], ways[:, :, 1:]).reshape(2 * len(choices), -1)
        standard = standardise(on_axes(vectors, self.fitted.get("discriminants")), self.scale.standard)
        return standard.reshape(len(choices), 2, -1)

    def extended(self, evidence: np.ndarray, each: np.ndarray) -> np.ndarray:
        """See `ChoiceModel`."""
        vectors: np.ndarray = (evidence.sum(0) + each) / (len(evidence) + 1)
        return vectors

    def log_odds(self, people: np.ndarray, evidence: np.ndarray) -> np.ndarray:
        """See `ChoiceModel`."""
        one, other = evidence.astype(np.float64).swapaxes(0, 1)
        slope = (one - other) / self._noise
        odds: np.ndarray = people @ slope.T - ((one + other) * slope).sum(1) / 2
        return odds

    @property
    def _noise(self) -> np.ndarray:
        """Variance of a single choice around a person's vector, (E,); discriminants make it 1 for a set."""
        spread = UNKNOWN_SHARE * np.ones(len(self.scale.centre))
        return self.shots * (spread if "discriminants" not in self.fitted else self.scale.standard[1] ** -2)


@dataclass(frozen=True)
class RegressionOfChoices:
    """For vectors that are a logistic regression of choices on margins; people answer as it says.

    margins: choices (N) to margins (N, J). regularisation: see `choice_weights`. scale: of the embeddings.
    """

    margins: Callable[[Sequence[NewChoice]], np.ndarray]
    regularisation: float
    scale: Scale

    @property
    def prior(self) -> tuple[np.ndarray, np.ndarray]:
        """See `ChoiceModel`: of the training's sets."""
        return self.scale.centre, self.scale.covariance()

    def evidence(self, choices: Sequence[NewChoice]) -> np.ndarray:
        """See `ChoiceModel`: the margins; D is J."""
        margins = self.margins(choices)
        return np.stack([margins, -margins], 1)

    def extended(self, evidence: np.ndarray, each: np.ndarray) -> np.ndarray:
        """See `ChoiceModel`."""
        so_far = np.broadcast_to(evidence, (len(each), *evidence.shape))
        weights = choice_weights(np.concatenate([so_far, each[:, None]], 1), self.regularisation)
        return standardise(weights, self.scale.standard)

    def log_odds(self, people: np.ndarray, evidence: np.ndarray) -> np.ndarray:
        """See `ChoiceModel`."""
        centre, size = self.scale.standard
        odds: np.ndarray = (people * size + centre) @ evidence[:, 0].T
        return odds
