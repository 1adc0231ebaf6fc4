"""`user=reward`: how much each reward's score counts in a person's choices, by a logistic regression of them.

R = sets of shots, S = shots of a set, J = rewards.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pyarrow as pa

from ppd_lightning.backbones.released import ReleasedModel
from ppd_lightning.config.folders import rewards_of_users
from ppd_lightning.config.schemas import Config, RewardUser
from ppd_lightning.rewards.reward import fingerprints_of, open_rewards
from ppd_lightning.storage.fingerprints import fingerprint
from ppd_lightning.users.reward_margins import score_margins
from ppd_lightning.users.shots import ShotSet

STEPS, TOLERANCE = 50, 1e-10
"""Of Newton's method: most steps, and the largest gradient at which it has arrived."""


def describe(config: Config, model: ReleasedModel, pairs: pa.Table, sets: Sequence[ShotSet]) -> np.ndarray:
    """Raw vectors (R, J) float64 of sets of shots.

    Raises:
        UserError: files of a reward are missing, or one of them cannot see an image.
    """
    assert isinstance(config.user, RewardUser)
    margins = score_margins(config, pairs)
    return choice_weights(margins[np.array([one.pairs for one in sets])], config.user.regularisation)


def seen_with(config: Config, model: ReleasedModel) -> str:
    """What stands for the rewards."""
    return fingerprint(fingerprints_of(open_rewards(rewards_of_users(config))))


def choice_weights(margins: np.ndarray, regularisation: float) -> np.ndarray:
    """The weights w (R, J) that minimise sum_s log(1 + exp(-w . m_s)) + regularisation |w|^2 / 2 for each set.

    That is the logistic regression of choices on margins without an intercept (Bradley-Terry with linear utilities),
    strictly convex, by damped Newton steps for all sets at once.

    Args:
        margins: (R, S, J), of the chosen image to the other.
        regularisation: above 0.
    """
    weights = np.zeros((len(margins), margins.shape[2]))
    ridge = regularisation * np.eye(margins.shape[2])
    loss = _loss(margins, weights, regularisation)
    for _ in range(STEPS):
        wrong = _sigmoid(-np.einsum("rsj,rj->rs", margins, weights))
        gradient = regularisation * weights - np.einsum("rs,rsj->rj", wrong, margins)
        if not len(gradient) or np.abs(gradient).max() < TOLERANCE:
            break
        curvature = np.einsum("rs,rsj,rsk->rjk", wrong * (1 - wrong), margins, margins) + ridge
        step = np.linalg.solve(curvature, gradient[:, :, None])[:, :, 0]
        size = np.ones(len(weights))
        while True:
            moved = weights - size[:, None] * step
            tried = _loss(margins, moved, regularisation)
            worse = (tried > loss + 1e-12) & (size > 1e-6)
            if not worse.any():
                break
            size[worse] /= 2
        weights, loss = moved, tried
    return weights


def _loss(margins: np.ndarray, weights: np.ndarray, regularisation: float) -> np.ndarray:
    fit = np.logaddexp(0, -np.einsum("rsj,rj->rs", margins, weights)).sum(1)
    penalised: np.ndarray = fit + regularisation * (weights**2).sum(1) / 2
    return penalised


def _sigmoid(values: np.ndarray) -> np.ndarray:
    logistic: np.ndarray = np.exp(-np.logaddexp(0, -values))
    return logistic
