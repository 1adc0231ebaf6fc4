"""A sweep as one HTML file without anything beside it: its runs, and each number against each swept key."""

from __future__ import annotations

import math
from collections.abc import Sequence
from html import escape
from pathlib import Path
from statistics import fmean

from ppd_lightning.run.sweep_table import Sweep, SweepRun, swept_keys
from ppd_lightning.sweeps.best import MAIN_NUMBERS

WIDTH, HEIGHT = 300, 190
"""Of a panel, in pixels."""
LEFT, RIGHT, TOP, BOTTOM = 58, 14, 14, 34
"""Room around the axes for their words."""

STYLE = """
body { font: 14px/1.45 system-ui, sans-serif; color: #1a1a1a; margin: 24px; max-width: 1300px }
h1 { font-size: 19px; margin: 0 } h2 { font-size: 14px; margin: 22px 0 4px } code { color: #555 }
table { border-collapse: collapse; margin: 14px 0; font-size: 13px }
th, td { padding: 3px 10px; text-align: left; border-bottom: 1px solid #e3e3e3; vertical-align: top }
td.number { text-align: right; font-variant-numeric: tabular-nums } tr.best { background: #fdf1dc }
.failed { color: #b3261e } .waiting { color: #777 } summary { cursor: pointer; margin-top: 22px; color: #2b6cb0 }
svg { margin: 0 12px 6px 0 } svg text { font: 11px system-ui, sans-serif; fill: #777 }
"""


def page(sweep: Sweep, runs: Sequence[SweepRun], metric: str | None, best: SweepRun | None) -> str:
    """The page; `metric` comes first, `best` is marked everywhere."""
    keys = swept_keys(runs)
    numbers = _numbers(runs)
    varying = [name for name in numbers if len({run.numbers[name] for run in runs if name in run.numbers}) > 1]
    numbers = [name for name in numbers if name in varying or name == metric]
    main = [name for name in dict.fromkeys([*([metric] if metric else []), *MAIN_NUMBERS]) if name in numbers]
    others = [name for name in numbers if name not in main]
    states = [run.state for run in runs]
    counted = ", ".join(f"{states.count(state)} {state}" for state in dict.fromkeys(states))
    body = [
        f"<h1>{escape(' '.join(sweep.verbs))}: {len(runs)} runs, {counted}</h1>",
        f"<code>ppd {escape(' '.join(sweep.verbs))} -m {escape(' '.join(sweep.overrides))}</code>",
    ]
    if best is not None and metric is not None:
        values = ", ".join(f"{key} = {best.overrides[key]}" for key in keys if key in best.overrides)
        body.append(
            f"<p>Best by {escape(metric)}: <b>run {best.number}</b>, {best.numbers[metric]:.4g}"
            f"{escape(f' ({values})' if values else '')}, <code>{escape(best.folder)}</code></p>"
        )
    body += _panels(main, keys, runs, best)
    body.append(_table(runs, keys, main, best))
    if others and keys:
        body += [f"<details><summary>{len(others)} further numbers</summary>", *_panels(others, keys, runs, best)]
        body.append("</details>")
    title = escape(" ".join(sweep.verbs))
    return (
        f'<!doctype html>\n<html lang="en"><head><meta charset="utf-8"><title>{title}</title><style>{STYLE}</style>'
        f"</head><body>\n{chr(10).join(body)}\n</body></html>\n"
    )


def panel(key: str, metric: str, runs: Sequence[SweepRun], best: SweepRun | None) -> str:
    """One SVG: a dot a run, a line through the means of each value; numbers lie on an axis, words beside each other."""
    shown = [run for run in runs if metric in run.numbers and key in run.overrides]
    values = list(dict.fromkeys(run.overrides[key] for run in shown))
    places, log = _places(values)
    values.sort(key=places.__getitem__)
    low, high = _range([run.numbers[metric] for run in shown])
    first, last = places[values[0]], places[values[-1]]

    def x(value: str) -> float:
        share = (places[value] - first) / (last - first) if last > first else 0.5
        return LEFT + 12 + share * (WIDTH - LEFT - RIGHT - 24)

    def y(number: float) -> float:
        return HEIGHT - BOTTOM - (number - low) / (high - low) * (HEIGHT - TOP - BOTTOM)

    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{WIDTH}" height="{HEIGHT}" viewBox="0 0 {WIDTH} {HEIGHT}">'
    ]
    for number in (low, (low + high) / 2, high):
        parts.append(f'<path d="M{LEFT} {y(number):.1f}H{WIDTH - RIGHT}" stroke="#e3e3e3"/>')
        parts.append(f'<text x="{LEFT - 6}" y="{y(number) + 4:.1f}" text-anchor="end">{number:.4g}</text>')
    taken = -math.inf
    for value in values:
        words = value if len(value) <= 14 else f"{value[:12]}…"
        if x(value) - 3.2 * len(words) > taken:  # words that would lie over each other are left out
            taken = x(value) + 3.2 * len(words) + 4
            parts.append(f'<text x="{x(value):.1f}" y="{HEIGHT - 19}" text-anchor="middle">{escape(words)}</text>')
    words = f"{key}{' (logarithmic)' if log else ''}"
    parts.append(f'<text x="{(LEFT + WIDTH - RIGHT) / 2}" y="{HEIGHT - 4}" text-anchor="middle">{escape(words)}</text>')
    means = {value: fmean(run.numbers[metric] for run in shown if run.overrides[key] == value) for value in values}
    line = "L".join(f"{x(value):.1f} {y(mean):.1f}" for value, mean in means.items())
    parts.append(f'<path d="M{line}" fill="none" stroke="#bcd4ec" stroke-width="2"/>')
    for run in sorted(shown, key=lambda run: run is best):
        colour, radius = ("#d97706", 5) if run is best else ("#2b6cb0", 3.2)
        told = escape(f"run {run.number}: {run.overrides[key]}, {run.numbers[metric]:.5g}")
        parts.append(
            f'<circle cx="{x(run.overrides[key]):.1f}" cy="{y(run.numbers[metric]):.1f}" r="{radius}" fill="{colour}">'
            f"<title>{told}</title></circle>"
        )
    return "".join([*parts, "</svg>"])


def _panels(metrics: Sequence[str], keys: Sequence[str], runs: Sequence[SweepRun], best: SweepRun | None) -> list[str]:
    parts = []
    for metric in metrics:
        drawn = [
            panel(key, metric, runs, best)
            for key in keys
            if any(metric in run.numbers and key in run.overrides for run in runs)
        ]
        if drawn:
            parts += [f"<h2>{escape(metric)}</h2>", *drawn]
    return parts


def _table(runs: Sequence[SweepRun], keys: Sequence[str], metrics: Sequence[str], best: SweepRun | None) -> str:
    heads = "".join(f"<th>{escape(word)}</th>" for word in ("run", *keys, *metrics, "state", "folder"))
    rows = []
    for run in runs:
        cells = [f"<td>{run.number}</td>", *(f"<td>{escape(run.overrides.get(key, ''))}</td>" for key in keys)]
        for name in metrics:
            number = f"{run.numbers[name]:.4g}" if name in run.numbers else ""
            cells.append(f'<td class="number">{number}</td>')
        why = f": {run.why}" if run.why else ""
        cells.append(f'<td class="{run.state}">{escape(run.state + why)}</td><td>{escape(Path(run.folder).name)}</td>')
        mark = ' class="best"' if run is best else ""
        rows.append(f"<tr{mark}>{''.join(cells)}</tr>")
    return f"<table><tr>{heads}</tr>{''.join(rows)}</table>"


def _numbers(runs: Sequence[SweepRun]) -> list[str]:
    return list(dict.fromkeys(name for run in runs for name in run.numbers))


def _places(values: Sequence[str]) -> tuple[dict[str, float], bool]:
    """Where each value lies on its axis, and whether that is logarithmic; words lie in the order in which they came."""
    try:
        numbers = [float(value) for value in values]
    except ValueError:
        return {value: float(place) for place, value in enumerate(values)}, False
    if not all(map(math.isfinite, numbers)):
        return {value: float(place) for place, value in enumerate(values)}, False
    if min(numbers) > 0 and max(numbers) >= 8 * min(numbers):
        return {value: math.log(number) for value, number in zip(values, numbers, strict=True)}, True
    return dict(zip(values, numbers, strict=True)), False


def _range(numbers: Sequence[float]) -> tuple[float, float]:
    """The ends of an axis, a little beyond the numbers."""
    low, high = min(numbers), max(numbers)
    room = 0.06 * (high - low) or abs(low) * 0.1 or 1.0
    return low - room, high + room
