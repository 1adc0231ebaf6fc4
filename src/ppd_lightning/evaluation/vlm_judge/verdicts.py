"""From predictions to verdicts, win rates and agreement: both orders must say the same, else the case is dropped.

N = cases.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from ppd_lightning.evaluation.statistics.win_rate import win_rate
from ppd_lightning.evaluation.vlm_judge.predictions import Prediction
from ppd_lightning.evaluation.vlm_judge.questions import Case
from ppd_lightning.storage.atomic import atomic_path

Outcome = Literal["won", "lost", "tie", "inconsistent", "unparsable", "refused"]

SCHEMA = pa.schema(
    {
        "kind": pa.string(),
        "group": pa.string(),
        "user": pa.string(),
        "caption": pa.string(),
        "seed": pa.int64(),
        "pair": pa.string(),
        "first": pa.int8(),
        "second": pa.int8(),
        "outcome": pa.string(),
        "first_answer": pa.string(),
        "second_answer": pa.string(),
    }
)
"""A row a case. kind: agreement (with a person's own choice, `pair`) or comparison (with the base, drawn with `seed`).

first, second: the predicted image where the one that should be preferred is Image 1, and where it is Image 2.
outcome: won where both orders say the one that should be. The answers' keys are those of answers-*.jsonl.
"""


@dataclass(frozen=True)
class Judged:
    """A case with its predictions; none where its images are the same, so that nothing was asked."""

    case: Case
    predictions: tuple[Prediction, Prediction] | None

    @property
    def outcome(self) -> Outcome:
        """What both orders say together."""
        if self.predictions is None:
            return "tie"
        if any(one.refused for one in self.predictions):
            return "refused"
        images = tuple(one.image for one in self.predictions)
        if None in images:
            return "unparsable"
        if images[0] == images[1]:
            return "inconsistent"
        return "won" if images == (1, 2) else "lost"


def by_group(judged: Sequence[Judged], *, clusters: Literal["user", "caption"], resamples: int) -> dict[str, Any]:
    """`tally` of each group, and of all of them together."""
    groups = list(dict.fromkeys(one.case.group for one in judged))
    tallies = {
        group: tally([one for one in judged if one.case.group == group], clusters=clusters, resamples=resamples)
        for group in groups
    }
    return tallies | {"all": tally(judged, clusters=clusters, resamples=resamples)}


def tally(judged: Sequence[Judged], *, clusters: Literal["user", "caption"], resamples: int) -> dict[str, Any]:
    """How often the image that should be preferred is, by the cases whose orders agree; ties count half.

    Args:
        clusters: what the bootstrap of the interval resamples.

    Returns:
        rate, low, high, wins, losses, ties, decided and n, which is their sum (rate None where it is 0, low and high
        where there is no interval); asked, consistent, inconsistent, unparsable and refused cases; position_bias, the
        share of Image 1 among all predictions; single_order, how often a prediction is right, each order by itself
        (both None where there is no prediction).
    """
    counted = Counter(one.outcome for one in judged)
    kept = [one for one in judged if one.outcome in ("won", "lost", "tie")]
    rates: dict[str, Any] = {
        "rate": None,
        "low": None,
        "high": None,
        "wins": 0,
        "losses": 0,
        "ties": 0,
        "decided": None,
    }
    if kept:
        differences = np.array([{"won": 1.0, "lost": -1.0}.get(one.outcome, 0.0) for one in kept])
        rate = win_rate(differences, [getattr(one.case, clusters) for one in kept], tie=0, resamples=resamples)
        rates = rate.numbers()
    predicted = [
        (one.image, order)
        for each in judged
        for order, one in enumerate(each.predictions or (), start=1)
        if one.image is not None
    ]
    return rates | {
        "n": len(kept),
        "asked": len(judged) - counted["tie"],
        "consistent": counted["won"] + counted["lost"],
        **{name: counted[name] for name in ("inconsistent", "unparsable", "refused")},
        "position_bias": round(sum(image == 1 for image, _ in predicted) / len(predicted), 4) if predicted else None,
        "single_order": round(sum(image == order for image, order in predicted) / len(predicted), 4)
        if predicted
        else None,
    }


def always_first(cases: Sequence[Case]) -> list[Judged]:
    """The cases as judged by one that says Image 1 whatever the images are."""
    one = Prediction(1, "")
    return [Judged(case, (one, one)) for case in cases]


def write_verdicts(path: Path, kinds: dict[str, Sequence[Judged]]) -> None:
    """Write the cases of each kind as a table (`SCHEMA`)."""
    rows = []
    for kind, judged in kinds.items():
        for one in judged:
            first, second = one.predictions or (None, None)
            rows.append(
                {
                    "kind": kind,
                    **{name: getattr(one.case, name) for name in ("group", "user", "caption", "seed", "pair")},
                    "first": first and first.image,
                    "second": second and second.image,
                    "outcome": one.outcome,
                    "first_answer": first and first.key,
                    "second_answer": second and second.key,
                }
            )
    with atomic_path(path) as unfinished:
        pq.write_table(pa.Table.from_pylist(rows, SCHEMA), unfinished)
