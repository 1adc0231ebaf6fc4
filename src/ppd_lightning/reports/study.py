"""Methods beside each other: tables of rewards, win rates of one over another, curves of taste against content.

Everything is on the comparisons that methods have in common, images of the same user, caption and noise. Intervals are
by a bootstrap over users (captions, where rewards are the users) and trainings; see `evaluation.resampling` and
`evaluation.curves`.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations, product

import numpy as np

from ppd_lightning.evaluation.statistics.bootstrap import (
    Estimate,
    draw_people,
    draw_trainings,
    estimate,
    resampled_means,
)
from ppd_lightning.evaluation.statistics.curves import Curves, Difference, differences
from ppd_lightning.evaluation.statistics.intervals import middle
from ppd_lightning.reports.methods import Method, methods_of
from ppd_lightning.reports.paired_scores import (
    Terms,
    column_at,
    common_units,
    groups_of,
    scores_at,
    terms_of,
    wins,
)
from ppd_lightning.reports.run_results import Measured, RunResult, Unit

TASTES = ("win rate", "gain")
"""How taste is measured: wins over the base (a tie is half a win), or the mean margin over the base's image."""


@dataclass(frozen=True)
class Settings:
    """Of a study.

    content: see `paired_scores.terms_of`. levels: of content where curves are compared; None for round ones.
    """

    content: str | None
    levels: list[float] | None
    resamples: int


@dataclass(frozen=True)
class Curve:
    """A method along its guidance scales, 0 being the base: an estimate of content and of each taste at every scale."""

    method: str
    group: str
    scales: list[float]
    content: list[Estimate]
    taste: dict[str, list[Estimate]]


@dataclass(frozen=True)
class AtEqualContent:
    """How much more taste one method has than another at equal content, see `evaluation.curves`."""

    one: str
    other: str
    group: str
    taste: str
    n: int
    people: int
    differences: list[Difference]


@dataclass(frozen=True)
class Rate:
    """How often one method's images win over another's (the base's where there is none), and the share of ties."""

    one: str
    other: str | None
    group: str
    scale: float
    rate: Estimate
    ties: float


@dataclass(frozen=True)
class Mean:
    """The mean score of a method's images by a reward; of the base's where method is None."""

    method: str | None
    reward: str
    scale: float | None
    mean: Estimate


@dataclass(frozen=True)
class Study:
    """What was found about methods on equal terms."""

    terms: Terms
    methods: list[Method]
    rates: list[Rate]
    means: list[Mean]
    curves: list[Curve]
    at_equal_content: list[AtEqualContent]


def studies_of(runs: Sequence[RunResult], settings: Settings) -> list[Study]:
    """A study for each set of terms on which the runs were evaluated; those with most evaluations first."""
    by_terms: dict[Terms, list[tuple[RunResult, list[Measured]]]] = {}
    for run in runs:
        for one in run.evaluations:
            terms = terms_of(run.settings, one, settings.content)
            if terms is not None:
                members = by_terms.setdefault(terms, [])
                if not members or members[-1][0] is not run:
                    members.append((run, []))
                members[-1][1].append(one)
    found = [study(terms, methods_of(members), settings) for terms, members in by_terms.items()]
    return sorted(found, key=lambda one: -sum(len(list(method.scales)) for method in one.methods))


def study(terms: Terms, methods: list[Method], settings: Settings) -> Study:
    """Every table and curve of methods on these terms."""
    rates = [rate for method in methods for rate in _over_base(method, terms, settings.resamples)]
    curves: list[Curve] = []
    equal: list[AtEqualContent] = []
    for one, other in combinations(methods, 2):
        rates += _over_another(one, other, terms, settings.resamples)
    if terms.content is not None:
        # A straight line from the base to a single point is nothing that was measured.
        swept = [method for method in methods if sum(scale != 0 for scale in method.scales) > 1]
        curves = [curve for method in swept for curve in _curves(method, terms, settings.resamples)]
        for one, other in combinations(swept, 2):
            equal += _at_equal_content(one, other, terms, settings)
    return Study(terms, methods, rates, _means(methods, terms, settings.resamples), curves, equal)


def round_levels(low: float, high: float, about: int) -> list[float]:
    """Round numbers from low to high, about so many."""
    if not high > low:
        return [low]
    rough = (high - low) / about
    power: float = 10.0 ** math.floor(math.log10(rough))
    step = min((power * factor for factor in (1, 2, 2.5, 5, 10)), key=lambda size: abs(size - rough))
    first, last = math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9)
    return [round(number * step, 12) for number in range(first, last + 1)]


def _over_base(method: Method, terms: Terms, resamples: int) -> list[Rate]:
    found = []
    for scale in method.scales:
        evaluations = [by_scale[scale] for by_scale in method.evaluations]
        groups = groups_of(evaluations)
        users = sorted({unit[1] for unit in evaluations[0].rows}) if terms.labels == "rewards" else []
        for group, user in [*((group, None) for group in groups), *((groups[-1], user) for user in users)]:
            units = [unit for unit in common_units(evaluations, group) if user in (None, unit[1])]
            if units:
                scores = scores_at([(method, scale)], units, terms)
                scored = wins(scores.gain(0), terms.tie)
                rate = estimate(scored, scores.clusters(terms), resamples)
                found.append(Rate(method.name, None, user or group, scale, rate, float((scored == 0.5).mean())))
    return found


def _over_another(one: Method, other: Method, terms: Terms, resamples: int) -> list[Rate]:
    found = []
    for scale in sorted(set(one.scales) & set(other.scales)):
        evaluations = [by_scale[scale] for method in (one, other) for by_scale in method.evaluations]
        for group in groups_of(evaluations):
            units = common_units(evaluations, group)
            if units:
                scores = scores_at([(one, scale), (other, scale)], units, terms)
                scored = wins(scores.over(0, 1), terms.tie)
                rate = estimate(scored, scores.clusters(terms), resamples)
                found.append(Rate(one.name, other.name, group, scale, rate, float((scored == 0.5).mean())))
    return found


def _means(methods: Sequence[Method], terms: Terms, resamples: int) -> list[Mean]:
    """Of each reward that scored the images: over those for it where it is a user, else over all of them."""
    found: list[Mean] = []
    of_base: set[str] = set()
    for method in methods:
        for scale in method.scales:
            evaluations = [by_scale[scale] for by_scale in method.evaluations]
            for reward in _rewards(evaluations):
                units = common_units(evaluations, groups_of(evaluations)[-1])
                if terms.labels == "rewards":
                    units = [unit for unit in units if unit[1] == reward]
                if not units:
                    continue
                people = [unit[2] for unit in units] if terms.labels == "rewards" else [unit[1] for unit in units]
                own = np.stack([column_at(one, f"own/{reward}", units) for one in evaluations])
                found.append(Mean(method.name, reward, scale, estimate(own, people, resamples)))
                if reward not in of_base:  # the base is the same one for all methods
                    of_base.add(reward)
                    base = column_at(evaluations[0], f"base/{reward}", units)
                    found.append(Mean(None, reward, None, estimate(base, people, resamples)))
    return found


def _rewards(evaluations: Sequence[Measured]) -> list[str]:
    """What scored all of the images, besides judges of a user's taste and the recognition of concepts."""
    judges = {name for one in evaluations for name in one.settings["evaluation"].get("judges", [])} | {"concept"}
    columns = set.intersection(
        *(set(one.comparisons.column_names) for one in evaluations if one.comparisons is not None)
    )
    return sorted(name.removeprefix("own/") for name in columns if name.startswith("own/") and name[4:] not in judges)


def _points(
    method: Method, units: list[Unit], terms: Terms, resamples: int, number: int
) -> tuple[Curves, dict[str, Curves], list[str]]:
    """Content against itself and against each taste, in all resamples; scales rise from 0, the base."""
    first = method.evaluations[0][method.scales[0]]
    people = scores_at([(method, method.scales[0])], units, terms).clusters(terms)
    _, person = np.unique(np.asarray(people, str), return_inverse=True)
    drawn, shares = draw_people(person, resamples), [draw_trainings(len(method.runs), resamples, number + 1)]

    def row(values: np.ndarray) -> np.ndarray:
        return np.concatenate([[values.mean()], resampled_means(values, person, drawn, shares)])

    even = np.ones((len(method.runs), 1))
    content = [row(column_at(first, f"base/{terms.content}", units) * even)]
    taste = {"win rate": [np.full(1 + resamples, 0.5)], "gain": [np.zeros(1 + resamples)]}
    for scale in method.scales:
        if scale == 0:
            continue
        gain = scores_at([(method, scale)], units, terms).gain(0)
        kept = [column_at(by_scale[scale], f"own/{terms.content}", units) for by_scale in method.evaluations]
        content.append(row(np.stack(kept)))
        taste["win rate"].append(row(wins(gain, terms.tie)))
        taste["gain"].append(row(gain))
    stacked = np.stack(content, axis=1)
    return (
        Curves(stacked, stacked),
        {name: Curves(stacked, np.stack(rows, axis=1)) for name, rows in taste.items()},
        people,
    )


def _curves(method: Method, terms: Terms, resamples: int) -> list[Curve]:
    if not method.scales:
        return []
    evaluations = [by_scale[scale] for by_scale in method.evaluations for scale in method.scales]
    found = []
    for group in groups_of(evaluations):
        units = common_units(evaluations, group)
        if not units:
            continue
        content, tastes, people = _points(method, units, terms, resamples, 0)
        sizes = (len(units), len(set(people)), len(method.runs))
        scales = [0.0, *(scale for scale in method.scales if scale != 0)]
        found.append(
            Curve(
                method.name,
                group,
                scales,
                _estimates(content.content, sizes),
                {name: _estimates(points.taste, sizes) for name, points in tastes.items()},
            )
        )
    return found


def _estimates(rows: np.ndarray, sizes: tuple[int, int, int]) -> list[Estimate]:
    """Of (1 + R, G), the measured value first, an estimate for each of G."""
    ends = middle(rows[1:], sizes[1])
    return [
        Estimate(float(value), float(low), float(high), *sizes) for value, low, high in zip(rows[0], *ends, strict=True)
    ]


def _at_equal_content(one: Method, other: Method, terms: Terms, settings: Settings) -> list[AtEqualContent]:
    if not (one.scales and other.scales):
        return []
    evaluations = [
        by_scale[scale] for method in (one, other) for by_scale in method.evaluations for scale in method.scales
    ]
    found = []
    for group, taste in product(groups_of(evaluations), TASTES):
        units = common_units(evaluations, group)
        if not units:
            continue
        (_, first, people), (_, second, _) = (
            _points(method, units, terms, settings.resamples, number) for number, method in enumerate((one, other))
        )
        low = max(first[taste].content[0].min(), second[taste].content[0].min())
        high = min(first[taste].content[0].max(), second[taste].content[0].max())
        levels = round_levels(low, high, 4) if settings.levels is None else settings.levels
        compared = differences(first[taste], second[taste], levels, len(set(people))) if high > low else []
        if compared:
            found.append(AtEqualContent(one.name, other.name, group, taste, len(units), len(set(people)), compared))
    return found
