"""Win rates of people by how many choices they made, and by how consistent these are.

N = choices of a person, F = features.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from ppd_lightning.data.stores import Store
from ppd_lightning.evaluation.comparisons.selection import Comparison
from ppd_lightning.evaluation.scores.group_win_rates import WinRates
from ppd_lightning.users.shot_sets import DESCRIBING

THIRDS = ("low", "middle", "high")


def numbers_of_pairs(pairs: pa.Table) -> dict[str, int]:
    """How many pairs describe each person."""
    counted = pc.value_counts(pairs.filter(pc.is_in(pairs["split"], pa.array(DESCRIBING)))["user_id"])
    return dict(zip(counted.field("values").to_pylist(), counted.field("counts").to_pylist(), strict=True))


def consistencies(pairs: pa.Table, latents: Store) -> dict[str, float]:
    """How well each person's choices predict one another, by what the codec sees of the images.

    Args:
        pairs: `data.pairs.PAIRS_SCHEMA`; those that describe people are used.
        latents: of all their images.
    """
    own = pairs.filter(pc.is_in(pairs["split"], pa.array(DESCRIBING)))
    images = pc.unique(pa.chunked_array([*own["preferred"].chunks, *own["dispreferred"].chunks]).cast(pa.string()))
    maps = latents.arrays["latents"][latents.index(images)].astype(np.float64)
    features = np.concatenate([maps.mean((2, 3)), maps.std((2, 3))], axis=1)
    deviation = features.std(0)
    features /= np.where(deviation > 1e-8, deviation, 1)
    preferred, other = (
        features[np.asarray(pc.index_in(own[side].cast(pa.string()), value_set=images))]
        for side in ("preferred", "dispreferred")
    )
    users, number = np.unique(np.array(own["user_id"].to_pylist(), object).astype(str), return_inverse=True)
    return {str(user): consistency((preferred - other)[number == index]) for index, user in enumerate(users)}


def consistency(differences: np.ndarray) -> float:
    """The share of choices that the mean of the person's other choices predicts; one half is chance, ties count half.

    Leave-one-out accuracy of the simplest rule: a choice is predicted where its difference of features points the way
    that the others' mean difference does.

    Args:
        differences: (N, F), features of the preferred image less those of the other.
    """
    others = differences.sum(0) - differences
    agreement = np.einsum("nf,nf->n", differences, others)
    return float((0.5 + 0.5 * np.sign(agreement)).mean())


def rates_of_thirds(
    rates: WinRates, comparisons: Sequence[Comparison], margin: np.ndarray, values: Mapping[str, float]
) -> dict[str, Any]:
    """Win rates of thirds of each group of people by their values, with the number and the range of each third.

    Args:
        margin: by how much each comparison is won.
        values: of people; 0 where there is none.
    """
    found: dict[str, Any] = {}
    for group in dict.fromkeys(one.group for one in comparisons):
        of_group = {one.user: float(values.get(one.user, 0)) for one in comparisons if one.group == group}
        for third, people in thirds(of_group).items():
            rows = [row for row, one in enumerate(comparisons) if one.group == group and one.user in set(people)]
            [rate] = rates.by_group([comparisons[row] for row in rows], margin[rows]).values()
            span = {"people": len(people), "from": min(of_group[one] for one in people)}
            span["to"] = max(of_group[one] for one in people)
            found.setdefault(group, {})[third] = span | rate
    return found


def thirds(values: Mapping[str, float]) -> dict[str, list[str]]:
    """People in three groups of about the same size by their values; equal values stay together.

    Groups that nobody is in are left out: where all are equal, "low" is everybody.
    """
    if not values:
        return {}
    edges = np.quantile(list(values.values()), [1 / 3, 2 / 3])
    grouped: dict[str, list[str]] = {}
    for person in sorted(values):
        grouped.setdefault(THIRDS[int((values[person] > edges).sum())], []).append(person)
    return {name: grouped[name] for name in THIRDS if name in grouped}
