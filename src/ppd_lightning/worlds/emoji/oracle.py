"""Upper bound of what any method can do from the same few choices.

The oracle knows how the world is made (how tastes are distributed, how noisy choices are, every real picture), but of
the person it sees the shots alone. It takes the real picture with the highest expected utility.

M = imagined people, K = concepts, S = styles, J = image statistics, N = shots, C = concepts that are asked for.
"""

from __future__ import annotations

import numpy as np

from ppd_lightning.worlds.emoji.people import make_people, world_utilities


class Oracle:
    """Bayesian inference about a person, by importance sampling over imagined people.

    Args:
        world_statistics: (K, S, J), of the world's real pictures.
        styles: S names. statistics: J names.
        temperature: scale of the Gumbel noise in a choice.
        imagined: M, drawn as the world's people are; enough so that a few shots leave hundreds of them likely.
        seed: of the draw; with the names of the imagined people, it makes them others than the world's.
    """

    def __init__(
        self,
        world_statistics: np.ndarray,
        styles: tuple[str, ...],
        statistics: tuple[str, ...],
        temperature: float,
        *,
        imagined: int = 8192,
        seed: int = 0,
    ) -> None:
        names = [f"imagined {number}" for number in range(imagined)]
        self.people = make_people(names, seed, styles, statistics, world_statistics)
        utility = world_utilities(self.people, world_statistics)  # (M, K, S)
        self.utility = utility.astype(np.float32)
        scaled = utility / temperature
        scaled -= scaled.max(2, keepdims=True)
        # The picked one of S with Gumbel noise (Plackett-Luce); the other picture of the pair is drawn at random.
        self.log_likelihood = (scaled - np.log(np.exp(scaled).sum(2, keepdims=True))).astype(np.float32)

    def posterior(self, concepts: np.ndarray, picked: np.ndarray) -> np.ndarray:
        """How likely each imagined person is the one who chose, (M,), summing to 1.

        Args:
            concepts, picked: (N,) int, of each shot: its concept and the style that was preferred.
        """
        log_likelihood = self.log_likelihood[:, concepts, picked].astype(np.float64).sum(1)
        return normalised(log_likelihood)

    def expected_utilities(self, concepts: np.ndarray, picked: np.ndarray, asked: np.ndarray) -> np.ndarray:
        """What the person thinks of the real pictures of the concepts `asked` (C,), given the shots: (C, S)."""
        expected: np.ndarray = np.tensordot(self.posterior(concepts, picked), self.utility[:, asked], 1)
        return expected

    def styles_for(self, concepts: np.ndarray, picked: np.ndarray, asked: np.ndarray) -> np.ndarray:
        """The style of the best picture of each concept `asked` (C,) int: (C,) int64."""
        best: np.ndarray = self.expected_utilities(concepts, picked, asked).argmax(1)
        return best


def normalised(log_likelihood: np.ndarray) -> np.ndarray:
    """The probabilities (M,) of equally likely people by what each gives the choices (M,), summing to 1."""
    weights = np.exp(log_likelihood - log_likelihood.max())
    found: np.ndarray = weights / weights.sum()
    return found
