"""Mean scores of the pictures: Table 1 of the paper, and the number that a run of a sweep is chosen by.

N = comparisons.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from ppd_lightning.config.schemas import Config
from ppd_lightning.evaluation.comparisons import Comparison
from ppd_lightning.evaluation.scorers import Measures


def mean_scores(
    config: Config,
    measures: Measures,
    comparisons: Sequence[Comparison],
    base: Mapping[str, np.ndarray],
    own: Mapping[str, np.ndarray],
) -> dict[str, dict[str, float]]:
    """The mean of every reward over the base's images, and over those for each synthetic user or for all people.

    Args:
        base, own: scores (N,) by reward.

    Returns:
        of "base", and of each synthetic user by name, or of the objective: the means by reward.
    """
    users = np.array([one.user for one in comparisons])
    everybody = np.ones(len(users), bool)
    shown = {user: users == user for user in sorted(set(users.tolist()))}
    if not measures.of_rewards:
        shown = {config.objective.name: everybody}
    return {
        name: {reward: round(float(scores[reward][rows].mean()), 4) for reward in measures.rewards}
        for name, scores, rows in [("base", base, everybody), *((name, own, rows) for name, rows in shown.items())]
    }


def mean_own_score(
    config: Config,
    measures: Measures,
    comparisons: Sequence[Comparison],
    base: Mapping[str, np.ndarray],
    own: Mapping[str, np.ndarray],
) -> dict[str, float]:
    """What users think of the images by what decides for them, a mean over users of each one's mean.

    Rewards as users count in deviations from the mean over the base's images, so that they can be added; utilities of
    people, and the scores of the reward that stands for them, are as they are.

    Args:
        base, own: (N,) by measure.

    Returns:
        of "base" and of the objective.
    """
    users = np.array([one.user for one in comparisons])
    told = {}
    for name, scores in (("base", base), (config.objective.name, own)):
        means = []
        for user in sorted(set(users.tolist())):
            rows = users == user
            if measures.of_rewards:
                scale = max(base[user].std(), np.finfo(np.float32).tiny)
                means.append((scores[user][rows].mean() - base[user].mean()) / scale)
            else:
                means.append(scores[measures.names[0]][rows].mean())
        told[name] = round(float(np.mean(means)), 4)
    return told
