"""Scores of methods on the same comparisons: each (group, user, caption, noise) that all of them have.

M = methods, S = seeds of the training, G = guidance scales, N = comparisons.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ppd_lightning.reports.methods import Method
from ppd_lightning.reports.run_results import Measured, Unit

CONTENT = "concept"
"""The column that says whether the concept was recognised; the embedded world alone has it."""
EVERYBODY = "all"
"""Of several groups of people together."""


@dataclass(frozen=True)
class Terms:
    """What evaluations must share to be compared: how images are sampled (but for the user), and how they are judged.

    labels: people or rewards. judge: the column with a user's score of an image; None where each user is a
    reward. content: the column that says how well an image keeps its caption; None where nothing measured it.
    """

    labels: str
    captions: str
    tie: float
    judge: str | None
    content: str | None
    drawing: str

    @property
    def resampled(self) -> str:
        """What the bootstrap resamples: users, or captions where rewards are the users, for there are no others."""
        return "captions" if self.labels == "rewards" else "users"


def terms_of(settings: dict[str, Any], one: Measured, content: str | None) -> Terms | None:
    """The terms of an evaluation of a run with these settings; None where it has no table of comparisons to work with.

    Args:
        content: the column that is asked for; None takes the first there is of concept and CLIP's score.
    """
    table = one.comparisons
    if table is None:
        return None
    names = {name.partition("/")[2] for name in table.column_names if name.startswith("own/")}
    judged, drawn = one.settings["evaluation"], one.settings["generation"]
    labels, judge = str(settings["data"]["labels"]), None
    if labels == "people":
        judge = next((name for name in [*judged.get("judges", []), *judged.get("rewards", [])] if name in names), None)
        if judge is None:
            return None
    clips = sorted(name for name in names if name.endswith("_clip"))
    wanted = (CONTENT, "clip", *clips) if content is None else (content,)
    kept = next((name for name in wanted if name in names), None)
    drawing = ", ".join(f"{key} {drawn[key]}" for key in ("steps", "text_guidance", "decoder") if key in drawn)
    return Terms(labels, str(judged["captions"]), float(judged["tie"]), judge, kept, drawing)


@dataclass(frozen=True)
class Scores:
    """N comparisons of one or more methods. Each array has the trainings first and N last.

    units: N. base: (N,) scores of the base's images; own: (S, N). scale: (N,) what a margin is divided by: of a reward
    that is a user the deviation over the base's images, else 1.
    """

    units: list[Unit]
    base: np.ndarray
    own: list[np.ndarray]
    scale: np.ndarray

    def clusters(self, terms: Terms) -> list[str]:
        """The user (or caption) of each comparison, which the bootstrap resamples."""
        return [unit[2] if terms.labels == "rewards" else unit[1] for unit in self.units]

    def gain(self, method: int) -> np.ndarray:
        """(S, N): the margin of each image over the base's."""
        margin: np.ndarray = (self.own[method] - self.base) / self.scale
        return margin

    def over(self, one: int, other: int) -> np.ndarray:
        """(S1, S2, N): the margin of the one method's image over the other's, for every two trainings."""
        margin: np.ndarray = (self.own[one][:, None] - self.own[other]) / self.scale
        return margin


def wins(differences: np.ndarray, tie: float) -> np.ndarray:
    """One where a difference is a win, a half where it is a tie, zero where it is lost."""
    scored: np.ndarray = 0.5 + 0.5 * (differences > tie) - 0.5 * (differences < -tie)
    return scored


def common_units(evaluations: Sequence[Measured], group: str) -> list[Unit]:
    """The comparisons of a group that all of the evaluations have, in order."""
    shared = set.intersection(*(set(one.rows) for one in evaluations))
    return sorted(unit for unit in shared if group in (EVERYBODY, unit[0]))


def groups_of(evaluations: Sequence[Measured]) -> list[str]:
    """The groups of users; where there are several, also everybody."""
    found = dict.fromkeys(unit[0] for one in evaluations for unit in one.rows)
    return [*found, *([EVERYBODY] if len(found) > 1 else [])]


def scores_at(methods: Sequence[tuple[Method, float]], units: list[Unit], terms: Terms) -> Scores:
    """Scores of methods' images, each at its guidance scale, on the units (N >= 1)."""
    first = methods[0][0].evaluations[0][methods[0][1]]
    base = _user_scores(first, "base", units, terms)
    own = [
        np.stack([_user_scores(by_scale[scale], "own", units, terms) for by_scale in method.evaluations])
        for method, scale in methods
    ]
    scale = np.ones(len(units))
    if terms.judge is None:
        users = np.array([unit[1] for unit in units])
        for user in np.unique(users):
            scale[users == user] = max(base[users == user].std(), np.finfo(np.float32).tiny)
    return Scores(units, base, own, scale)


def column_at(one: Measured, name: str, units: Sequence[Unit]) -> np.ndarray:
    """(N,) float64 of a column, on units that the evaluation has."""
    assert one.comparisons is not None
    values: np.ndarray = one.comparisons[name].to_numpy().astype(np.float64)[[one.rows[unit] for unit in units]]
    return values


def _user_scores(one: Measured, side: str, units: Sequence[Unit], terms: Terms) -> np.ndarray:
    if terms.judge is not None:
        return column_at(one, f"{side}/{terms.judge}", units)
    found, users = np.zeros(len(units)), np.array([unit[1] for unit in units])
    for user in np.unique(users):
        rows = np.flatnonzero(users == user)
        found[rows] = column_at(one, f"{side}/{user}", [units[row] for row in rows.tolist()])
    return found
