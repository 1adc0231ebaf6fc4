"""Mean scores of the images: Table 1 of the paper, and the number that a run of a sweep is chosen by.

N = comparisons.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from ppd_lightning.evaluation.comparisons.selection import Comparison
from ppd_lightning.evaluation.scores.scorers import Scorers


def mean_scores(
    scorers: Scorers,
    comparisons: Sequence[Comparison],
    base: Mapping[str, np.ndarray],
    own: Mapping[str, np.ndarray],
    method: str,
) -> dict[str, dict[str, float]]:
    """The mean of every reward over the base's images, and over those for each synthetic user or for all people.

    Args:
        base, own: scores (N,) by reward.
        method: what the means over all people are called.

    Returns:
        of "base", and of each synthetic user by name, or of the method: the means by reward.
    """
    users = np.array([one.user for one in comparisons])
    everybody = np.ones(len(users), bool)
    rows_of = {user: users == user for user in sorted(set(users.tolist()))}
    if not scorers.synthetic_users:
        rows_of = {method: everybody}
    return {
        name: {reward: round(float(scores[reward][rows].mean()), 4) for reward in scorers.rewards}
        for name, scores, rows in [("base", base, everybody), *((name, own, rows) for name, rows in rows_of.items())]
    }


def mean_own_score(
    scorers: Scorers,
    comparisons: Sequence[Comparison],
    base: Mapping[str, np.ndarray],
    own: Mapping[str, np.ndarray],
    method: str,
) -> dict[str, float]:
    """What users think of the images by what decides for them, a mean over users of each one's mean.

    Rewards as users count in deviations from the mean over the base's images, so that they can be added; utilities of
    people, and the scores of the reward that stands for them, are as they are.

    Args:
        base, own: (N,) by scorer.
        method: what the run's mean is called.

    Returns:
        of "base" and of the method.
    """
    users = np.array([one.user for one in comparisons])
    found = {}
    for name, scores in (("base", base), (method, own)):
        means = []
        for user in sorted(set(users.tolist())):
            rows = users == user
            if scorers.synthetic_users:
                scale = max(base[user].std(), np.finfo(np.float32).tiny)
                means.append((scores[user][rows].mean() - base[user].mean()) / scale)
            else:
                means.append(scores[scorers.names[0]][rows].mean())
        found[name] = round(float(np.mean(means)), 4)
    return found
