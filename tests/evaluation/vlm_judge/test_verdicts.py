"""A verdict counts where both orders agree; everything else is dropped and counted."""

from __future__ import annotations

from pathlib import Path

import pyarrow.parquet as pq
import pytest

from ppd_lightning.evaluation.vlm_judge.predictions import Prediction
from ppd_lightning.evaluation.vlm_judge.questions import Case
from ppd_lightning.evaluation.vlm_judge.verdicts import Judged, always_first, by_group, tally, write_verdicts


def judged(said: tuple[int | None, int | None] | None, *, user: str = "ann", group: str = "seen") -> Judged:
    case = Case(group, user, "a fox", seed=1)
    return Judged(case, said and (Prediction(said[0], "a"), Prediction(said[1], "b")))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("said", "outcome"),
    [
        ((1, 2), "won"),
        ((2, 1), "lost"),
        ((1, 1), "inconsistent"),
        ((2, 2), "inconsistent"),
        ((1, None), "unparsable"),
        ((None, None), "unparsable"),
        (None, "tie"),
    ],
)
def test_both_orders_must_name_the_same_image(said: tuple[int | None, int | None] | None, outcome: str) -> None:
    assert judged(said).outcome == outcome


def test_a_refusal_counts_as_one() -> None:
    refused = (Prediction(None, "a", "unsafe"), Prediction(1, "b"))
    assert Judged(Case("seen", "ann", "a fox"), refused).outcome == "refused"


def test_the_rate_is_over_what_is_consistent_and_ties_count_half() -> None:
    said = [(1, 2)] * 5 + [(2, 1)] * 2 + [(1, 1)] * 4 + [(2, 2)] + [(1, None)] * 2 + [None]
    found = tally([judged(one, user=str(n)) for n, one in enumerate(said)], clusters="user", resamples=200)
    assert (found["wins"], found["losses"], found["ties"], found["n"]) == (5, 2, 1, 8)
    assert found["rate"] == pytest.approx(5.5 / 8)
    assert found["low"] < found["rate"] < found["high"]
    assert found["decided"] == pytest.approx(5 / 7, abs=1e-4)
    assert (found["asked"], found["consistent"], found["inconsistent"], found["unparsable"]) == (14, 7, 5, 2)
    assert found["position_bias"] == pytest.approx((5 + 2 + 8 + 0 + 2) / 26, abs=1e-4)
    assert found["single_order"] == pytest.approx((10 + 4 + 1 + 2) / 26, abs=1e-4)


def test_the_interval_draws_people_and_not_comparisons() -> None:
    of_two = [judged((1, 2) if user == "ann" else (2, 1), user=user) for user in ("ann", "bob") for _ in range(50)]
    found = tally(of_two, clusters="user", resamples=500)
    assert (found["low"], found["high"]) == (0, 1)
    assert tally(of_two, clusters="caption", resamples=500)["low"] is None  # all are one caption


def test_a_judge_that_always_says_first_is_always_inconsistent_and_right_half_of_the_time() -> None:
    found = tally(always_first([Case("seen", "ann", str(n)) for n in range(9)]), clusters="user", resamples=10)
    assert (found["inconsistent"], found["n"], found["rate"]) == (9, 0, None)
    assert (found["position_bias"], found["single_order"]) == (1.0, 0.5)


def test_groups_stand_beside_all_of_them(tmp_path: Path) -> None:
    both = [judged((1, 2)), judged((2, 1), group="unseen", user="bob"), judged(None, user="eve")]
    found = by_group(both, clusters="user", resamples=10)
    assert [(group, one["n"]) for group, one in found.items()] == [("seen", 2), ("unseen", 1), ("all", 3)]
    write_verdicts(tmp_path / "verdicts.parquet", {"comparison": both})
    rows = pq.read_table(tmp_path / "verdicts.parquet").to_pylist()
    assert [(row["user"], row["outcome"], row["first"], row["second"]) for row in rows] == [
        ("ann", "won", 1, 2),
        ("bob", "lost", 2, 1),
        ("eve", "tie", None, None),
    ]


def test_nothing_at_all_has_no_rate() -> None:
    assert by_group([], clusters="user", resamples=10)["all"]["rate"] is None
