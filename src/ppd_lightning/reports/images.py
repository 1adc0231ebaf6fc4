"""Pictures of a run or of several methods: sheets, a fair sample of comparisons, and where it failed."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

from ppd_lightning.reports.blocks import Block, Pictures, Section, Sheet, rounded
from ppd_lightning.reports.methods import Method
from ppd_lightning.reports.paired import Terms, column_at, common_units, groups_of, scores_at
from ppd_lightning.reports.results import Measured, RunResult, Unit
from ppd_lightning.reports.thumbnails import SHEET, thumbnail

ROWS, COLUMNS = 8, 8
"""Of a grid on a page, at most."""
SAMPLED = 8
"""Comparisons that are shown of each group."""
FAILED, EACH = 6, 4
"""People who are shown as failures, and how many comparisons of each."""


def grids_section(run: RunResult) -> Section:
    """What `ppd generate` drew, captions down and people across, and the last sheet that the training showed."""
    blocks: list[Block] = [
        grid for path in sorted(run.folder.glob("generation-*/manifest.parquet")) for grid in _grid(path)
    ]
    previews = sorted((run.folder / "previews").glob("step-*.png"))
    if previews:
        picture = thumbnail(previews[-1], SHEET)
        if picture is not None:
            blocks.append(Sheet(f"Preview at step {int(previews[-1].stem.partition('-')[2])}", picture))
    return Section("Pictures", blocks)


def sample_section(run: RunResult) -> Section:
    """Comparisons chosen by hash, not by how they went: the base's picture beside the person's."""
    blocks: list[Block] = []
    for one in run.evaluations[-1:]:
        if one.comparisons is None:
            continue
        for group in dict.fromkeys(unit[0] for unit in one.rows):
            units = sample([unit for unit in one.rows if unit[0] == group], SAMPLED)
            note = f"Guidance {one.guidance:g}; chosen by hash, not by how they went."
            blocks.append(_beside(f"A sample of comparisons: {group}", run, one, units, note))
    return Section("Compared with the base", blocks)


def failures_section(run: RunResult) -> Section:
    """The people whose pictures gain least by the first judge, with several of their comparisons."""
    blocks: list[Block] = []
    for one in run.evaluations[-1:]:
        if one.comparisons is None:
            continue
        for person in one.summary.get("lowest", [])[:FAILED]:
            own = [unit for unit in one.rows if unit[:2] == (person["group"], person["user"])]
            told = f"win rate {rounded(person['rate'])} of {person['n']}, mean margin {rounded(_margin(person))}"
            blocks.append(_beside(f"{person['user']} ({person['group']}): {told}", run, one, sample(own, EACH), ""))
    return Section("Where it fails: the people who gain least", blocks)


def side_by_side(methods: Sequence[Method], scale: float, terms: Terms) -> Pictures | None:
    """The same comparisons by every method at a guidance scale, chosen by hash; None where they have none in common."""
    evaluations = [method.evaluations[0][scale] for method in methods]
    units = sample(common_units(evaluations, groups_of(evaluations)[-1]), SAMPLED)
    if not units:
        return None
    scores = scores_at([(method, scale) for method in methods], units, terms)
    rows = [("base", [(_picture(methods[0].runs[0], evaluations[0], "base", unit), "") for unit in units])]
    for number, (method, one) in enumerate(zip(methods, evaluations, strict=True)):
        gains = scores.gain(number)[0]
        cells = [
            (_picture(method.runs[0], one, "own", unit), _words(one, "own", unit, f"{gain:+.2f}"))
            for unit, gain in zip(units, gains, strict=True)
        ]
        rows.append((method.name, cells))
    note = (
        f"User guidance {scale:g}, seed {methods[0].runs[0].seed} of each training; the number is by how much the "
        "picture is liked better than the base's. Chosen by hash, not by how they went."
    )
    return Pictures("The same comparisons by each method", [_heading(unit) for unit in units], rows, note)


def sample(units: Sequence[Unit], count: int) -> list[Unit]:
    """So many of the comparisons, those with the lowest hashes; another choice of methods shows the same ones."""
    return sorted(units, key=lambda unit: hashlib.blake2b(repr(unit).encode(), digest_size=8).digest())[:count]


def _grid(path: Path) -> list[Pictures]:
    rows = pq.read_table(path).to_pylist()
    captions = list(dict.fromkeys(row["caption"] for row in rows))[:ROWS]
    users = list(dict.fromkeys(row["user"] for row in rows))[: COLUMNS + 1]
    seed = rows[0]["seed"]
    files = {(row["caption"], row["user"]): row["file"] for row in rows if row["seed"] == seed}
    told = [
        (caption, [(thumbnail(path.parent / files[caption, user]), "") for user in users if (caption, user) in files])
        for caption in captions
    ]
    names = ["base" if user is None else user for user in users]
    return [Pictures("Drawn by ppd generate", names, told, f"Seed {seed}; each row has one noise.")]


def _beside(title: str, run: RunResult, one: Measured, units: Sequence[Unit], note: str) -> Pictures:
    """Comparisons beside each other: the base's pictures, below them the person's with what was judged."""
    judge = (one.settings["evaluation"].get("judges") or [""])[0]
    names = one.comparisons.column_names if one.comparisons is not None else []
    gains = []
    for unit in units:
        liked = judge if f"own/{judge}" in names else unit[1]  # a reward that is a user judges its own pictures
        if f"own/{liked}" in names:
            gain = column_at(one, f"own/{liked}", [unit])[0] - column_at(one, f"base/{liked}", [unit])[0]
            gains.append(f"{gain:+.2f}")
        else:
            gains.append("")
    base = [(_picture(run, one, "base", unit), _words(one, "base", unit, "")) for unit in units]
    own = [
        (_picture(run, one, "own", unit), _words(one, "own", unit, gain))
        for unit, gain in zip(units, gains, strict=True)
    ]
    return Pictures(title, [_heading(unit) for unit in units], [("base", base), (run.objective, own)], note)


def _heading(unit: Unit) -> str:
    return f"{unit[2]}, for {unit[1]}"


def _picture(run: RunResult, one: Measured, side: str, unit: Unit) -> str | None:
    assert one.comparisons is not None
    if f"{side}_image" not in one.comparisons.column_names:
        return None
    name = one.comparisons[f"{side}_image"][one.rows[unit]].as_py()
    return None if name is None else thumbnail(run.output / name)


def _words(one: Measured, side: str, unit: Unit, told: str) -> str:
    """What is said below a picture: the margin, and where the concept was not recognised, that."""
    assert one.comparisons is not None
    lost = f"{side}/concept" in one.comparisons.column_names and not column_at(one, f"{side}/concept", [unit])[0]
    return ", ".join(word for word in (told, "concept lost" if lost else "") if word)


def _margin(person: Mapping[str, Any]) -> float:
    return float(person.get("margin", person.get("mean margin", float("nan"))))
