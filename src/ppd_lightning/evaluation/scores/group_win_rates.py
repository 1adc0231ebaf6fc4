"""How much better the run's images are than the base's, and the win rates that follow.

N = comparisons.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from ppd_lightning.evaluation.comparisons.selection import Comparison
from ppd_lightning.evaluation.scores.scorers import Scorers
from ppd_lightning.evaluation.statistics.share_of_possible import share_of_possible
from ppd_lightning.evaluation.statistics.win_rate import win_rate

LOWEST = 10
"""People who are named because their images gain least."""


@dataclass(frozen=True)
class Margins:
    """By how much an image is better than the base's: in units of utility, or in deviations of a reward's scores.

    decisive: (N,), by what decides for the person of each comparison. further: (N,) by every other scorer, by name.
    """

    decisive: np.ndarray
    further: dict[str, np.ndarray]


def margins(
    scorers: Scorers,
    comparisons: Sequence[Comparison],
    base: Mapping[str, np.ndarray],
    other: Mapping[str, np.ndarray],
) -> Margins:
    """The margins of the other image of each comparison over the base's.

    A reward's are counted in its deviation over all these images.

    Args:
        base, other: scores (N,) by name of the scorer.
    """
    by_name = {
        name: other[name] - base[name] if name in scorers.judges else _in_deviations(other[name], base[name])
        for name in scorers.names
    }
    if not scorers.synthetic_users:
        first, *further = scorers.names
        return Margins(by_name[first], {name: by_name[name] for name in further})
    users = np.array([one.user for one in comparisons])
    decisive = np.zeros(len(users))
    for name in scorers.synthetic_users:
        decisive[users == name] = by_name[name][users == name]
    return Margins(decisive, {name: by_name[name] for name in scorers.names if name not in scorers.synthetic_users})


@dataclass(frozen=True)
class WinRates:
    """How win rates are counted.

    tie: margins up to this count as a tie. resamples: of the bootstrap for the 95 % intervals. synthetic_users: whether
    rewards are the users; the bootstrap is over captions then, for there are no other users than these, else over
    users.
    """

    tie: float
    resamples: int
    synthetic_users: bool = False

    def of(self, comparisons: Sequence[Comparison], margin: Margins) -> dict[str, Any]:
        """`win_rate` by what decides, `win_rate_by_NAME` by the others; of synthetic users also `win_rate_of_each`."""
        rates: dict[str, Any] = {"win_rate": self.by_group(comparisons, margin.decisive)}
        if self.synthetic_users:
            each = [replace(one, group=one.user) for one in comparisons]
            rates["win_rate_of_each"] = self.by_group(each, margin.decisive)
        return rates | {f"win_rate_by_{name}": self.by_group(comparisons, own) for name, own in margin.further.items()}

    def by_group(self, comparisons: Sequence[Comparison], margin: np.ndarray) -> dict[str, Any]:
        """A win rate for each group of people, by margins (N,)."""
        rates = {}
        for group, (rows, clusters) in self._groups(comparisons).items():
            rate = win_rate(margin[rows], clusters, tie=self.tie, resamples=self.resamples)
            rates[group] = rate.numbers()
        return rates

    def shares(self, comparisons: Sequence[Comparison], margin: np.ndarray, possible: np.ndarray) -> dict[str, Any]:
        """What each group's win rate is of the oracle's, both from chance; margins (N,), and the oracle's."""
        return {
            group: share_of_possible(margin[rows], possible[rows], clusters, tie=self.tie, resamples=self.resamples)
            for group, (rows, clusters) in self._groups(comparisons).items()
        }

    def _groups(self, comparisons: Sequence[Comparison]) -> dict[str, tuple[list[int], list[str]]]:
        """The rows of each group, and what is resampled of each: its person or caption."""
        clusters = [one.caption if self.synthetic_users else one.user for one in comparisons]
        found = {}
        for group in dict.fromkeys(one.group for one in comparisons):
            rows = [row for row, one in enumerate(comparisons) if one.group == group]
            found[group] = (rows, [clusters[row] for row in rows])
        return found

    def lowest(self, comparisons: Sequence[Comparison], margin: np.ndarray) -> list[dict[str, Any]]:
        """The people whose images are least better than the base's by margins (N,), the lowest mean margin first."""
        own: dict[tuple[str, str], list[float]] = {}
        for one, value in zip(comparisons, margin.tolist(), strict=True):
            own.setdefault((one.group, one.user), []).append(value)
        people = []
        for (group, user), values in own.items():
            difference = np.array(values)
            score = 0.5 + 0.5 * (difference > self.tie) - 0.5 * (difference < -self.tie)
            people.append(
                {
                    "user": user,
                    "group": group,
                    "rate": round(float(score.mean()), 4),
                    "n": len(values),
                    "margin": round(float(difference.mean()), 4),
                }
            )
        return sorted(people, key=lambda one: (one["margin"], one["group"], one["user"]))[:LOWEST]


def _in_deviations(other: np.ndarray, base: np.ndarray) -> np.ndarray:
    deviation = np.concatenate([other, base]).std()
    margin: np.ndarray = (other - base) / max(deviation, np.finfo(np.float32).tiny)
    return margin
