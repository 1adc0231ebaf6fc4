"""The sections of a study, and its results as plain values for programs."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from itertools import combinations
from typing import Any

from ppd_lightning.evaluation.statistics.bootstrap import Estimate
from ppd_lightning.evaluation.statistics.intervals import words
from ppd_lightning.figures.intervals import Row, interval_figure
from ppd_lightning.figures.lines import Series, line_figure
from ppd_lightning.reports.blocks import Block, Cell, Drawing, Figures, Folded, Interval, Section, Table, Text, rounded
from ppd_lightning.reports.image_sections import side_by_side
from ppd_lightning.reports.methods import Method
from ppd_lightning.reports.study import TASTES, AtEqualContent, Curve, Mean, Rate, Study
from ppd_lightning.reports.summary_tables import INTERVAL

PER_REWARD = "one diffusion_dpo per reward"
TASTE_NAMES = {"win rate": "win rate over the base", "gain": "mean margin over the base"}


def study_sections(study: Study) -> Iterator[Section]:
    """The result in images and sentences; taste against content, which decides; win rates; mean rewards."""
    yield Section("Methods side by side", [*_headlines(study), *_images(study)])
    yield curves_of_taste(study)
    yield Section("Win rates over the base", list(_over_base(study)))
    yield Section("Methods against each other", list(_over_each_other(study)))
    yield Section("Mean rewards", list(_means(study)))


def curves_of_taste(study: Study) -> Section:
    """Curves of taste against content, and differences at equal content."""
    return Section("Taste against content", list(_curves(study)))


def _headlines(study: Study) -> Iterator[Block]:
    """Each two methods' difference at equal content; without one, each method's win rate over the base."""
    groups = [one.group for one in study.at_equal_content]
    for one in study.at_equal_content:
        difference = one.differences[0]
        if one.taste == TASTES[0] and one.group == groups[-1] and difference.level is None:
            yield Text(
                f"{one.one} over {one.other} at equal content: {difference.value:+.3f} in {TASTE_NAMES[one.taste]}; "
                f"{_bootstrap(study)} {words(difference.low, difference.high, '+.3f')}.",
                "headline",
            )
    if study.at_equal_content:
        return
    for method in study.methods:
        rates = [rate for rate in study.rates if rate.one == method.name and rate.other is None]
        largest = [rate for rate in rates if rate.scale == max(rate.scale for rate in rates)]
        for rate in [*(rate for rate in largest if rate.group == "unseen"), *largest][:1]:
            yield Text(
                f"{method.name}: win rate over the base {rate.rate.value:.3f} ({rate.group} users, user guidance "
                f"{rate.scale:g}); {_bootstrap(study)} {words(rate.rate.low, rate.rate.high, '.3f')}.",
                "headline",
            )


def _bootstrap(study: Study) -> str:
    return f"{INTERVAL} (bootstrap over {study.terms.resampled})"


def conditions_of(study: Study) -> str:
    """The evaluation's settings that all methods share, how intervals are computed, and the seeds."""
    terms = study.terms
    judge = f"by {terms.judge}" if terms.judge else "by each user's own reward, in deviations over the base's images"
    seeds = "; ".join(f"{method.name}: {_seeds(method)}" for method in study.methods)
    return (
        f"Users are {terms.labels}; captions: {terms.captions}; {terms.drawing}. Images are scored {judge}; "
        f"differences up to {terms.tie:g} are ties and count half. {INTERVAL}s: bootstrap over {terms.resampled}, each "
        f"with all of its comparisons, and over trainings where a method has several. {seeds}."
    )


def as_values(studies: Sequence[Study]) -> list[dict[str, Any]]:
    """The studies for study.json; what is not finite is null."""
    found: list[dict[str, Any]] = []
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
        found.append(_finite(values))
    return found


def _curves(study: Study) -> Iterator[Block]:
    terms, colours = study.terms, _colours(study.methods)
    if terms.content is None:
        return
    if not study.curves:
        yield Text(
            "Evaluated at one user guidance scale, so there is no curve of taste against content. Several scales make "
            "one, such as -m generation.user_guidance=1,2,5."
        )
        return
    groups = list(dict.fromkeys(curve.group for curve in study.curves))
    content = "concept accuracy" if terms.content == "concept" else f"mean {terms.content} score"
    yield Text(
        "A larger user guidance scale raises taste and costs content, so methods are compared at equal content "
        f"({content}). Each curve runs over the user guidance scale from 0, which is the base; its points are joined "
        "by straight lines and not extrapolated."
    )
    for taste in TASTES:
        drawings = [
            _curve_drawing(group, [curve for curve in study.curves if curve.group == group], taste, colours, content)
            for group in groups
        ]
        yield Figures("", drawings, f"Numbers at the points: user guidance scale. Bars: {_bootstrap(study)}.")
    for taste in TASTES:
        found = [one for one in study.at_equal_content if one.taste == taste]
        if found:
            yield _difference_table(found, study, taste, whole=True)
            yield Folded("At single levels of content", [_difference_table(found, study, taste, whole=False)])
    compared = {(one.one, one.other) for one in study.at_equal_content}
    for one, other in combinations(dict.fromkeys(curve.method for curve in study.curves), 2):
        if (one, other) not in compared:
            yield Text(
                f"{one} and {other} are not compared: their curves have no range of content in common. Evaluate both "
                "at more user guidance scales, or with more comparisons.",
                "warning",
            )
    rows: list[list[Cell]] = [
        [
            curve.method,
            curve.group,
            f"{scale:g}",
            _cell(curve.content[number]),
            *(_cell(curve.taste[name][number]) for name in TASTES),
        ]
        for curve in study.curves
        for number, scale in enumerate(curve.scales)
    ]
    head = ["method", "group", "user guidance", "content", *(TASTE_NAMES[name] for name in TASTES)]
    yield Folded("All points of the curves", [Table("Points of the curves", head, rows, name="curves")])


def _curve_drawing(group: str, curves: Sequence[Curve], taste: str, colours: dict[str, int], content: str) -> Drawing:
    series = []
    for curve in curves:
        estimates = list(zip(curve.content, curve.taste[taste], strict=True))
        series.append(
            Series(
                curve.method,
                [(x.value, y.value) for x, y in estimates],
                colours[curve.method],
                dots=True,
                intervals=[(x.low, x.high, y.low, y.high) for x, y in estimates],
                labels=[f"{scale:g}" for scale in curve.scales],
            )
        )
    figure = line_figure(f"{group} users", series, x_label=content, y_label=TASTE_NAMES[taste])
    return Drawing(f"taste_{taste}-{group}", f"{TASTE_NAMES[taste]} against {content}, {group} users", figure)


def _difference_table(found: Sequence[AtEqualContent], study: Study, taste: str, *, whole: bool) -> Table:
    rows: list[list[Cell]] = []
    for one in found:
        for difference in one.differences[:1] if whole else one.differences[1:]:
            content = f"mean over {rounded(difference.begin)} to {rounded(difference.end)}"
            if difference.level is not None:
                content = f"{difference.level:g}"
            value = Interval(difference.value, difference.low, difference.high, one.n)
            reached = "" if difference.reached >= 0.995 else f"{difference.reached:.0%}"
            rows.append([f"{one.one} over {one.other}", one.group, content, value, one.n, one.people, reached])
    head = ["methods", "group", "at content", f"difference in {taste} (95 %)", "n", "clusters", "reached"]
    note = (
        f"Positive: the first method has more taste at equal content. {_bootstrap(study)}. n: comparisons of one "
        f"training; clusters: {study.terms.resampled}. Reached: the share of resamples in which both curves have this "
        "content, where it is below 1; the interval is of these alone."
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
            "A reward's column is of the images for that reward as the user." if own_users else ""
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
        yield Text(
            "At the same user guidance scale, user, caption and noise; every training of the one method against every "
            "one of the other. A method may win here because its scale acts more strongly: see taste against content.",
            "note",
        )
    yield from _rates(rates, study, "Win rates of one method over another", "win_rates_between")


def _rates(rates: Sequence[Rate], study: Study, title: str, name: str) -> Iterator[Block]:
    if not rates:
        return
    colours = _colours(study.methods)
    groups = list(dict.fromkeys(rate.group for rate in rates))
    drawings = []
    for group in groups:
        bars = [
            Row(f"{_versus(rate)}, {rate.scale:g}", rate.rate.value, rate.rate.low, rate.rate.high, colours[rate.one])
            for rate in rates
            if rate.group == group
        ]
        figure = interval_figure(f"{group} (method, user guidance)", bars, level=0.5, x_label=_bootstrap(study))
        drawings.append(Drawing(f"{name}-{group}", f"{title}: {group}", figure))
    yield Figures("", drawings)
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
    note = f"{_bootstrap(study)}. n: comparisons of one training; clusters: {study.terms.resampled}."
    yield Table(title, head, rows, note, name)


def _images(study: Study) -> Iterator[Block]:
    shared = set.intersection(*(set(method.scales) for method in study.methods))
    found = side_by_side(study.methods, max(shared), study.terms) if shared else None
    if found is not None:
        yield found


def _versus(rate: Rate) -> str:
    return rate.one if rate.other is None else f"{rate.one} over {rate.other}"


def _seeds(method: Method) -> str:
    seeds = ", ".join(str(run.seed) for run in method.runs)
    if len(method.runs) > 1:
        return f"mean of the trainings with seeds {seeds}"
    return f"one training, seed {seeds}, so its intervals do not cover the training"


def _colours(methods: Sequence[Method]) -> dict[str, int]:
    return {method.name: number for number, method in enumerate(methods)}


def _cell(estimate: Estimate) -> Interval:
    return Interval(estimate.value, estimate.low, estimate.high, estimate.n)


def _finite(value: Any) -> Any:
    """The same with null for what is not finite, which JSON does not know."""
    if isinstance(value, dict):
        return {key: _finite(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_finite(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
