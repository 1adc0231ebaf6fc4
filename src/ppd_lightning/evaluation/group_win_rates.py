"""How much better the run's pictures are than the base's, and the win rates that follow.

N = comparisons.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np

from ppd_lightning.config.schemas import Config
from ppd_lightning.evaluation.comparisons import Comparison
from ppd_lightning.evaluation.scorers import Measures
from ppd_lightning.evaluation.statistics.win_rate import win_rate

LOWEST = 10
"""People who are named because their pictures gain least."""


@dataclass(frozen=True)
class Margins:
    """By how much a picture is better than the base's: in units of utility, or in deviations of a reward's scores.

    decisive: (N,), by what decides for the person of each comparison. further: (N,) by every other measure, by name.
    """

    decisive: np.ndarray
    further: dict[str, np.ndarray]


def margins(
    measures: Measures,
    comparisons: Sequence[Comparison],
    base: Mapping[str, np.ndarray],
    other: Mapping[str, np.ndarray],
) -> Margins:
    """The margins of the other picture of each comparison over the base's, from what measures say of both.

    A reward's are counted in its deviation over all these pictures.

    Args:
        base, other: (N,) by name of the measure.
    """
    by_name = {
        name: other[name] - base[name] if name in measures.judges else _in_deviations(other[name], base[name])
        for name in measures.names
    }
    if not measures.of_rewards:
        first, *further = measures.names
        return Margins(by_name[first], {name: by_name[name] for name in further})
    users = np.array([one.user for one in comparisons])
    decisive = np.zeros(len(users))
    for name in measures.users:
        decisive[users == name] = by_name[name][users == name]
    return Margins(decisive, {name: by_name[name] for name in measures.names if name not in measures.users})


def win_rates(config: Config, comparisons: Sequence[Comparison], margin: Margins) -> dict[str, Any]:
    """`win_rate` by what decides, `win_rate_by_NAME` by the others; of synthetic users also `win_rate_of_each`."""
    rates: dict[str, Any] = {"win_rate": rates_by_group(config, comparisons, margin.decisive)}
    if config.data.labels == "rewards":
        each = [replace(one, group=one.user) for one in comparisons]
        rates["win_rate_of_each"] = rates_by_group(config, each, margin.decisive)
    further = {f"win_rate_by_{name}": rates_by_group(config, comparisons, own) for name, own in margin.further.items()}
    return rates | further


def rates_by_group(config: Config, comparisons: Sequence[Comparison], margin: np.ndarray) -> dict[str, Any]:
    """A win rate for each group of people, by margins (N,).

    People are drawn anew for its interval; rewards are not, for there are no others than these, but captions are.
    """
    rates = {}
    drawn = [one.caption if config.data.labels == "rewards" else one.user for one in comparisons]
    for group in dict.fromkeys(one.group for one in comparisons):
        rows = [row for row, one in enumerate(comparisons) if one.group == group]
        rate = win_rate(
            margin[rows],
            [drawn[row] for row in rows],
            tie=config.evaluation.tie,
            resamples=config.evaluation.bootstrap,
        )
        rates[group] = {name: round(value, 4) for name, value in asdict(rate).items()} | {
            "decided": round(rate.decided, 4)
        }
    return rates


def lowest(config: Config, comparisons: Sequence[Comparison], margin: np.ndarray) -> list[dict[str, Any]]:
    """The people whose pictures are least better than the base's, the lowest mean margin first."""
    own: dict[tuple[str, str], list[float]] = {}
    for one, value in zip(comparisons, margin.tolist(), strict=True):
        own.setdefault((one.group, one.user), []).append(value)
    told = []
    for (group, user), values in own.items():
        difference = np.array(values)
        score = 0.5 + 0.5 * (difference > config.evaluation.tie) - 0.5 * (difference < -config.evaluation.tie)
        told.append(
            {
                "user": user,
                "group": group,
                "rate": round(float(score.mean()), 4),
                "n": len(values),
                "margin": round(float(difference.mean()), 4),
            }
        )
    return sorted(told, key=lambda one: (one["margin"], one["group"], one["user"]))[:LOWEST]


def _in_deviations(other: np.ndarray, base: np.ndarray) -> np.ndarray:
    deviation = np.concatenate([other, base]).std()
    margin: np.ndarray = (other - base) / max(deviation, np.finfo(np.float32).tiny)
    return margin
