"""What a study found, as sections, and as plain values for programs."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from itertools import combinations
from typing import Any

from markupsafe import Markup

from ppd_lightning.evaluation.statistics.bootstrap import Estimate
from ppd_lightning.reports.blocks import Block, Cell, Interval, More, Plots, Section, Table, Words, rounded
from ppd_lightning.reports.images import side_by_side
from ppd_lightning.reports.methods import Method
from ppd_lightning.reports.plots import Bar, Series, bar_plot, line_plot
from ppd_lightning.reports.study import TASTES, AtEqualContent, Curve, Mean, Rate, Study

PER_REWARD = "one diffusion_dpo per reward"
TASTE_WORDS = {"win rate": "win rate over the base", "gain": "how much better it is liked"}


def study_sections(study: Study, *, alone: bool = False) -> Iterator[Section]:
    """Taste against content first, because it decides; then rewards, win rates, and pictures.

    Args:
        alone: only what the sections of a run do not tell.
    """
    yield Section("Taste against content", list(_curves(study)))
    if alone:
        return
    yield Section("Mean rewards", list(_means(study)))
    yield Section("Win rates over the base", list(_over_base(study)))
    yield Section("Methods against each other", list(_over_each_other(study)))
    yield Section("Pictures by each method", list(_pictures(study)))


def terms_words(study: Study) -> str:
    """On which terms the methods were compared, in a sentence."""
    terms = study.terms
    judge = (
        f"by {terms.judge}" if terms.judge else "by each user's own reward, in its deviations over the base's pictures"
    )
    seeds = ", ".join(f"{method.name}: {_seeds(method)}" for method in study.methods)
    return (
        f"Users are {terms.labels}; captions: {terms.captions}; {terms.drawing}. Pictures are liked {judge}; a "
        f"difference up to {terms.tie:g} is a tie and counts half. Intervals (95 %) draw {terms.resampled} anew, each "
        f"with all comparisons, and trainings where a method has several. {seeds}."
    )


def as_values(studies: Sequence[Study]) -> list[dict[str, Any]]:
    """The studies for study.json; what is not finite is null."""
    told: list[dict[str, Any]] = []
    for study in studies:
        methods = [
            {
                "name": method.name,
                "runs": [str(run.folder) for run in method.runs],
                "seeds": [run.seed for run in method.runs],
                "user_guidance": method.scales,
                "settings": method.settings,
            }
            for method in study.methods
        ]
        values = {"terms": asdict(study.terms), "methods": methods}
        for name in ("rates", "means", "curves", "at_equal_content"):
            values[name] = [asdict(one) for one in getattr(study, name)]
        told.append(_finite(values))
    return told


def _curves(study: Study) -> Iterator[Block]:
    terms, colours = study.terms, _colours(study.methods)
    if terms.content is None:
        return
    if not study.curves:
        yield Words(
            "Evaluated at one user guidance scale: nothing here says what pleasing costs in content. Several scales "
            "make curves, such as -m generation.user_guidance=1,2,5."
        )
        return
    groups = list(dict.fromkeys(curve.group for curve in study.curves))
    kept = (
        "share of pictures whose concept is recognised" if terms.content == "concept" else f"mean {terms.content} score"
    )
    yield Words(
        "A method that shows the user more strongly pleases more and keeps less of the caption. So methods are "
        f"compared at equal content ({kept}): each curve runs along the user guidance scale from 0, the base itself, "
        "and its points are joined by straight lines; nothing is extended beyond them."
    )
    for taste in TASTES:
        pictures = [
            _curve_plot(
                f"{TASTE_WORDS[taste]}: {group}", [c for c in study.curves if c.group == group], taste, colours, kept
            )
            for group in groups
        ]
        yield Plots("", pictures)
    for taste in TASTES:
        found = [one for one in study.at_equal_content if one.taste == taste]
        if found:
            yield _difference_table(found, taste, whole=True)
            yield More("At single levels of content", [_difference_table(found, taste, whole=False)])
    compared = {(one.one, one.other) for one in study.at_equal_content}
    for one, other in combinations(dict.fromkeys(curve.method for curve in study.curves), 2):
        if (one, other) not in compared:
            yield Words(
                f"{one} and {other} are not compared: their curves have no range of content in common. Evaluate both "
                "at more user guidance scales, or with more comparisons.",
                "warning",
            )
    rows: list[list[Cell]] = [
        [
            curve.method,
            curve.group,
            f"{scale:g}",
            _cell(curve.content[place]),
            *(_cell(curve.taste[name][place]) for name in TASTES),
        ]
        for curve in study.curves
        for place, scale in enumerate(curve.scales)
    ]
    head = ["method", "group", "user guidance", "content", *(TASTE_WORDS[name] for name in TASTES)]
    yield More("All points of the curves", [Table("Points of the curves", head, rows, name="curves")])


def _curve_plot(title: str, curves: Sequence[Curve], taste: str, colours: dict[str, int], kept: str) -> Markup:
    series = []
    for curve in curves:
        points = [(content.value, own.value) for content, own in zip(curve.content, curve.taste[taste], strict=True)]
        crosses = [
            (content.low, content.high, own.low, own.high)
            for content, own in zip(curve.content, curve.taste[taste], strict=True)
        ]
        told = [
            f"{curve.method} at guidance {scale:g}: {x:.3f}, {y:.3f}"
            for scale, (x, y) in zip(curve.scales, points, strict=True)
        ]
        series.append(Series(curve.method, points, colours[curve.method], dots=True, crosses=crosses, told=told))
    return line_plot(title, series, across=kept)


def _difference_table(found: Sequence[AtEqualContent], taste: str, *, whole: bool) -> Table:
    rows: list[list[Cell]] = []
    for one in found:
        for difference in one.differences[:1] if whole else one.differences[1:]:
            where = f"mean over {rounded(difference.begin)} to {rounded(difference.end)}"
            if difference.level is not None:
                where = f"{difference.level:g}"
            value = Interval(difference.value, difference.low, difference.high, one.n)
            reached = "" if difference.reached >= 0.995 else f"{difference.reached:.0%}"
            rows.append([f"{one.one} over {one.other}", one.group, where, value, one.n, one.people, reached])
    head = ["methods", "group", "at content", f"difference in {taste} (95 %)", "n", "clusters", "reached"]
    note = (
        "Positive: the first of the two pleases more where both keep the caption equally well. n: comparisons of one "
        "training; clusters: what was drawn anew. Reached: in how many resamplings both curves have this content, "
        "where that is not all; the interval is of these alone."
    )
    name = f"{'equal_content' if whole else 'content_levels'}_{taste.replace(' ', '_')}"
    return Table(f"At equal content: {taste}", head, rows, note, name)


def _means(study: Study) -> Iterator[Block]:
    if not study.means:
        return
    rewards = sorted({mean.reward for mean in study.means})
    alone = {method.name for method in study.methods if method.only_reward and method.objective == "diffusion_dpo"}
    scales = sorted({mean.scale for mean in study.means if mean.scale is not None})
    for scale in scales:
        here = [mean for mean in study.means if mean.scale in (None, scale)]
        names = [None, *(method.name for method in study.methods if method.name not in alone)]
        rows: list[list[Cell]] = []
        for name in names:
            own = {mean.reward: mean for mean in here if mean.method == name}
            if own:
                rows.append(_mean_row(name or "base", own, rewards))
        upper = {mean.reward: mean for mean in here if mean.method in alone}
        if upper:
            rows.append(_mean_row(PER_REWARD, upper, rewards))
        own_users = study.terms.labels == "rewards"
        note = f"Captions: {study.terms.captions}. " + (
            "A reward's column is of the pictures that were drawn for that reward as the user." if own_users else ""
        )
        yield Table(
            f"Mean rewards at user guidance {scale:g}",
            ["", *rewards, "n"],
            rows,
            note,
            f"mean_rewards_guidance_{scale:g}",
        )


def _mean_row(name: str, means: dict[str, Mean], rewards: Sequence[str]) -> list[Cell]:
    sizes = sorted({mean.mean.n for mean in means.values()})
    cells: list[Cell] = [_cell(means[reward].mean) if reward in means else None for reward in rewards]
    return [name, *cells, ", ".join(f"{size:,}" for size in sizes)]


def _over_base(study: Study) -> Iterator[Block]:
    rates = [rate for rate in study.rates if rate.other is None]
    yield from _rates(rates, study, "Win rates over the base", "win_rates")


def _over_each_other(study: Study) -> Iterator[Block]:
    rates = [rate for rate in study.rates if rate.other is not None]
    if rates:
        yield Words(
            "At the same user guidance, on the same user, caption and noise; every training of the one method meets "
            "every one of the other. A method may win here only because it shows the user more strongly: see taste "
            "against content.",
            "note",
        )
    yield from _rates(rates, study, "Win rates of one method over another", "win_rates_between")


def _rates(rates: Sequence[Rate], study: Study, title: str, name: str) -> Iterator[Block]:
    if not rates:
        return
    colours = _colours(study.methods)
    groups = list(dict.fromkeys(rate.group for rate in rates))
    pictures = []
    for group in groups:
        bars = [
            Bar(f"{_versus(rate)}, {rate.scale:g}", rate.rate.value, rate.rate.low, rate.rate.high, colours[rate.one])
            for rate in rates
            if rate.group == group
        ]
        pictures.append(bar_plot(f"{group} (method, user guidance)", bars, level=0.5))
    yield Plots("", pictures)
    rows: list[list[Cell]] = [
        [
            _versus(rate),
            rate.group,
            f"{rate.scale:g}",
            _cell(rate.rate),
            rate.rate.n,
            rate.rate.people,
            str(rate.rate.trainings),
            f"{rate.ties:.1%}",
        ]
        for rate in rates
    ]
    head = ["method", "group", "user guidance", "win rate (95 %)", "n", "clusters", "trainings", "tied"]
    yield Table(title, head, rows, "n: comparisons of one training; clusters: what was drawn anew.", name)


def _pictures(study: Study) -> Iterator[Block]:
    if len(study.methods) > 1:
        shared = set.intersection(*(set(method.scales) for method in study.methods))
        found = side_by_side(study.methods, max(shared), study.terms) if shared else None
        if found is not None:
            yield found


def _versus(rate: Rate) -> str:
    return rate.one if rate.other is None else f"{rate.one} over {rate.other}"


def _seeds(method: Method) -> str:
    seeds = ", ".join(str(run.seed) for run in method.runs)
    several = (
        "one method's trainings; their mean" if len(method.runs) > 1 else "one training: intervals tell of users alone"
    )
    return f"seed{'s' if len(method.runs) > 1 else ''} {seeds} ({several})"


def _colours(methods: Sequence[Method]) -> dict[str, int]:
    return {method.name: place for place, method in enumerate(methods)}


def _cell(estimate: Estimate) -> Interval:
    return Interval(estimate.value, estimate.low, estimate.high, estimate.n)


def _finite(value: Any) -> Any:
    """The same with null for what is not finite, which JSON does not know."""
    if isinstance(value, dict):
        return {key: _finite(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_finite(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
