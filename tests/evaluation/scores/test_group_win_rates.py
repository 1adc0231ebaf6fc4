"""Who decides a comparison, in closed form: a reward's margin counts in deviations, a user's own reward is theirs."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from ppd_lightning.evaluation.comparisons.selection import Comparison
from ppd_lightning.evaluation.scores.group_win_rates import WinRates, margins
from ppd_lightning.evaluation.scores.mean_scores import mean_own_score, mean_scores

PEOPLE, SYNTHETIC = WinRates(tie=0.1, resamples=50), WinRates(tie=0.1, resamples=50, synthetic_users=True)
COMPARISONS = [Comparison("seen", user, f"c{n}", 1000) for n in range(2) for user in ("brightness", "clutter")]
BASE = {"brightness": np.array([1.0, 3, 1, 3]), "clutter": np.zeros(4), "symmetry": np.array([5.0, 5, 5, 5])}
OWN = {
    "brightness": np.array([3.0, 3, 1, 9]),
    "clutter": np.array([9.0, -4, 9, 0]),
    "symmetry": np.array([6.0, 6, 4, 5]),
}


def scorers(**changes: Any) -> Any:
    """Rewards as users, and one that only scores."""
    names = ["brightness", "clutter", "symmetry"]
    own = {"names": names, "synthetic_users": names[:2], "judges": [], "rewards": dict.fromkeys(names)}
    return SimpleNamespace(**own | changes)


def test_a_synthetic_users_comparison_is_decided_by_their_own_reward() -> None:
    margin = margins(scorers(), COMPARISONS, BASE, OWN)
    bright = (OWN["brightness"] - BASE["brightness"]) / np.std([*OWN["brightness"], *BASE["brightness"]])
    clutter = (OWN["clutter"] - BASE["clutter"]) / np.std([*OWN["clutter"], *BASE["clutter"]])
    np.testing.assert_allclose(margin.decisive, [bright[0], clutter[1], bright[2], clutter[3]])
    assert margin.further.keys() == {"symmetry"}
    rates = SYNTHETIC.of(COMPARISONS, margin)
    assert rates["win_rate"]["seen"]["wins"] == 1
    assert rates["win_rate"]["seen"]["ties"] == 2
    assert rates["win_rate_of_each"]["brightness"] | {"low": 0, "high": 0} == {
        "rate": 0.75,
        "low": 0,
        "high": 0,
        "n": 2,
        "wins": 1,
        "losses": 0,
        "ties": 1,
        "decided": 1.0,
    }
    assert rates["win_rate_by_symmetry"]["seen"]["n"] == 4


def test_of_people_the_first_scorer_decides_and_utilities_are_not_scaled() -> None:
    people = scorers(synthetic_users=[], names=["pixels", "brightness"], judges=["pixels"])
    base, own = {**BASE, "pixels": np.zeros(4)}, {**OWN, "pixels": np.array([0.05, 7, -7, 0.2])}
    margin = margins(people, COMPARISONS, base, own)
    assert margin.decisive.tolist() == [0.05, 7, -7, 0.2]
    rates = PEOPLE.of(COMPARISONS, margin)
    assert rates.keys() == {"win_rate", "win_rate_by_brightness"}
    assert [rates["win_rate"]["seen"][key] for key in ("wins", "losses", "ties")] == [2, 1, 1]


def test_a_reward_that_never_differs_ties() -> None:
    margin = margins(scorers(), COMPARISONS, BASE, BASE)
    assert not margin.decisive.any()


def test_the_lowest_are_those_who_gain_least() -> None:
    assert PEOPLE.lowest(COMPARISONS, np.array([0.5, -1.0, 0.05, -3.0])) == [
        {"user": "clutter", "group": "seen", "rate": 0.0, "n": 2, "margin": -2.0},
        {"user": "brightness", "group": "seen", "rate": 0.75, "n": 2, "margin": 0.275},
    ]


def test_a_users_own_score_counts_in_deviations_of_the_base() -> None:
    base = {**BASE, "clutter": np.array([0.0, 2, 0, 2])}
    found = mean_own_score(scorers(), COMPARISONS, base, OWN, "ppd")
    # brightness: base 2 +- 1, own (3 + 1) / 2; clutter: base 1 +- 1, own (-4 + 0) / 2
    assert found == {"base": pytest.approx((-1 + 1) / 2), "ppd": pytest.approx((0 - 3) / 2)}


def test_mean_scores_are_of_each_synthetic_user_and_of_people_together() -> None:
    found = mean_scores(scorers(), COMPARISONS, BASE, OWN, "ppd")
    assert found["base"] == {"brightness": 2.0, "clutter": 0.0, "symmetry": 5.0}
    assert found["clutter"] == {"brightness": 6.0, "clutter": -2.0, "symmetry": 5.5}
    people = mean_scores(scorers(synthetic_users=[]), COMPARISONS, BASE, OWN, "ppd")
    assert people.keys() == {"base", "ppd"}
    assert people["ppd"]["symmetry"] == 5.25
