"""Agreement is what counting by hand gives."""

from __future__ import annotations

import numpy as np

from ppd_lightning.rewards.agreement import agreement

LEADS = {
    "a": np.array([1.0, 2.0, -3.0, 0.0, -0.5]),
    "b": np.array([0.1, -0.1, -0.1, 4.0, 0.0]),
    "never": np.zeros(5),
    "people": np.array([0.5, -0.5, -0.5, 0.5, 0.5]),
}


def test_agreement_is_that_of_a_hand_made_matrix() -> None:
    found = agreement(LEADS)
    assert found.as_dict() == {
        "a": {
            "b": {"share": 0.6667, "n": 3},
            "never": {"share": None, "n": 0},
            "people": {"share": 0.5, "n": 4},
        },
        "b": {
            "a": {"share": 0.6667, "n": 3},
            "never": {"share": None, "n": 0},
            "people": {"share": 1.0, "n": 4},
        },
        "never": {other: {"share": None, "n": 0} for other in ("a", "b", "people")},
        "people": {
            "a": {"share": 0.5, "n": 4},
            "b": {"share": 1.0, "n": 4},
            "never": {"share": None, "n": 0},
        },
    }
    assert found.ties.tolist() == [1, 1, 5, 0]
    assert found.pairs == 5


def test_agreement_equals_a_loop_over_the_pairs() -> None:
    generator = np.random.default_rng(0)
    leads = {name: generator.integers(-2, 3, 200).astype(float) for name in "xyz"}
    told = agreement(leads).as_dict()
    for one in leads:
        for other in leads.keys() - {one}:
            both = [(a, b) for a, b in zip(leads[one], leads[other], strict=True) if a and b]
            share = sum((a > 0) == (b > 0) for a, b in both) / len(both)
            assert told[one][other] == {"share": round(share, 4), "n": len(both)}
