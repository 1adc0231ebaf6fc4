"""How much each of several scores counts in a person's choices: logistic regressions, for many people at once.

R = sets of shots, S = shots of a set, J = rewards.
"""

from __future__ import annotations

import numpy as np

STEPS, TOLERANCE = 50, 1e-10
"""Of Newton's method: most steps, and the largest gradient at which it has arrived."""


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
