"""Images of a run or of several methods: grids, a sample of comparisons, and the users with the lowest win rates."""

from __future__ import annotations

import base64
import hashlib
import io
import logging
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image

from ppd_lightning.data.pictures import as_rgb
from ppd_lightning.errors import UserError
from ppd_lightning.generation.drawn_files import png_fault, read_picture
from ppd_lightning.reports.blocks import Block, ImageTable, LargeImage, Section, rounded
from ppd_lightning.reports.few_shot_images import FewShotImages
from ppd_lightning.reports.methods import Method
from ppd_lightning.reports.paired_scores import Terms, column_at, common_units, groups_of, scores_at
from ppd_lightning.reports.run_results import Measured, RunResult, Unit
from ppd_lightning.storage.result_folder import remedy_of, require_whole, result_files

log = logging.getLogger(__name__)

ROWS, COLUMNS = 8, 8
"""Of a grid on a page, at most."""
SAMPLED = 8
"""Comparisons of a sample."""
FAILED, EACH = 6, 4
"""Users with the lowest win rates, and comparisons of each."""
SIDE = 192
"""The longest side of an image among others, in pixels: twice what a page shows, for fine screens."""
LARGEST = 1400
"""The longest side of a single image."""
BY_HASH = "The sample is drawn by hash, whatever the scores are."
CHOICES = "few-shot choices"


def result_images(run: RunResult, choices: FewShotImages) -> list[Block]:
    """A sample of comparisons of each group of users, below their few-shot choices, and the grids of `ppd generate`."""
    blocks: list[Block] = []
    one = run.main_evaluation
    if one is not None and one.comparisons is not None:
        for group in sorted(dict.fromkeys(unit[0] for unit in one.rows), reverse=True):  # unseen before seen
            units = sample([unit for unit in one.rows if unit[0] == group], SAMPLED)
            note = f"User guidance scale {one.guidance:g}. {BY_HASH}"
            blocks.append(_comparisons(f"Base and {run.objective}: {group} users", run, one, units, choices, note))
    for path in result_files(run.folder, "generation", "manifest.parquet"):
        blocks.append(_grid(path, choices))
    previews = sorted((run.folder / "previews").glob("step-*.png"))
    if previews and not blocks and (fault := png_fault(previews[-1])) is not None:
        log.warning("%s: %s; the page is without it", previews[-1], fault)
    elif previews and not blocks and (url := image_url(previews[-1], LARGEST)) is not None:
        blocks.append(LargeImage(f"Preview at step {int(previews[-1].stem.partition('-')[2])}", url))
    return blocks


def failures_section(run: RunResult, choices: FewShotImages) -> Section:
    """The users with the lowest win rates by the first judge, with several of their comparisons in a row."""
    one = run.main_evaluation
    lowest = [] if one is None or one.comparisons is None else one.summary.get("lowest", [])[:FAILED]
    if one is None or not lowest:
        return Section("Failures")
    urls = _choice_urls(choices, [user["user"] for user in lowest])
    rows: list[tuple[str, list[tuple[str | None, str]]]] = []
    for user in lowest:
        units = sample([unit for unit in one.rows if unit[:2] == (user["group"], user["user"])], EACH)
        cells = [(urls.get(user["user"]), "")] if urls else []
        for unit, margin in zip(units, _margins(one, units), strict=True):
            cells.append((_image(run, one, "base", unit), _caption(one, "base", unit, unit[2])))
            cells.append((_image(run, one, "own", unit), _caption(one, "own", unit, margin)))
        words = f"win rate {rounded(user['rate'])} of {user['n']}, mean margin {rounded(_mean_margin(user))}"
        rows.append((f"{user['user']} ({user['group']}): {words}", cells))
    widest = max(len(cells) for _, cells in rows) - bool(urls)
    columns = [*([CHOICES] if urls else []), *(["base", run.objective] * (widest // 2))]
    note = f"User guidance scale {one.guidance:g}. Numbers below images: margin over the base's image."
    return Section("Failures", [ImageTable("Users with the lowest win rates", columns, rows, note)])


def side_by_side(methods: Sequence[Method], scale: float, terms: Terms) -> ImageTable | None:
    """The same comparisons by every method at a guidance scale; None where they have none in common."""
    evaluations = [method.evaluations[0][scale] for method in methods]
    units = sample(common_units(evaluations, groups_of(evaluations)[-1]), SAMPLED)
    if not units:
        return None
    scores = scores_at([(method, scale) for method in methods], units, terms)
    run = methods[0].runs[0]
    rows = [
        *_choices(FewShotImages(run), [unit[1] for unit in units]),
        ("base", [(_image(run, evaluations[0], "base", unit), "") for unit in units]),
    ]
    for number, (method, one) in enumerate(zip(methods, evaluations, strict=True)):
        gains = scores.gain(number)[0]
        cells = [
            (_image(method.runs[0], one, "own", unit), _caption(one, "own", unit, f"{gain:+.2f}"))
            for unit, gain in zip(units, gains, strict=True)
        ]
        rows.append((method.name, cells))
    note = (
        f"User guidance scale {scale:g}, seed {run.seed} of each training. Numbers: margin of the score over the "
        f"base's image. {BY_HASH}"
    )
    return ImageTable("The same comparisons by each method", [_heading(unit) for unit in units], rows, note)


def sample(units: Sequence[Unit], count: int) -> list[Unit]:
    """So many of the comparisons, those with the lowest hashes; the same ones whatever is compared."""
    return sorted(units, key=lambda unit: hashlib.blake2b(repr(unit).encode(), digest_size=8).digest())[:count]


def image_url(path: Path, longest: int = SIDE, drawn_by: str = "ppd evaluate") -> str | None:
    """An image as a data URL (WebP), scaled down to `longest` pixels; None, and a warning, where the file was removed.

    Raises:
        UserError: it is damaged; `drawn_by` draws it again.
    """
    if not path.exists():
        _warn_of_missing(path.parent, drawn_by)
        return None
    if (fault := png_fault(path)) is not None:
        raise UserError(f"{path}: {fault}; run `{drawn_by}` with the same settings, which draws it again")
    return _url(read_picture(path), longest)


@cache
def _warn_of_missing(folder: Path, drawn_by: str) -> None:
    """Once for a folder: all of its images may have been removed."""
    log.warning("%s: images are missing, the page is made without; `%s` draws them again", folder, drawn_by)


def _url(picture: Image.Image, longest: int) -> str:
    """Small images keep their pixels, without loss."""
    lossless = max(picture.size) <= SIDE // 2
    picture.thumbnail((longest, longest), Image.Resampling.LANCZOS)
    data = io.BytesIO()
    picture.save(data, "WEBP", lossless=lossless, quality=82, method=4)
    return f"data:image/webp;base64,{base64.b64encode(data.getvalue()).decode()}"


def _choices(choices: FewShotImages, users: Sequence[str | None]) -> list[tuple[str, list[tuple[str | None, str]]]]:
    """A row with the preferred images of each user's few-shot set, four in a square; no row where nobody has any."""
    urls = _choice_urls(choices, [user for user in users if user is not None])
    return [(CHOICES, [(urls.get(user or ""), "") for user in users])] if urls else []


def _choice_urls(choices: FewShotImages, users: Sequence[str]) -> dict[str, str]:
    return {user: _square(pictures) for user, pictures in choices.of(users).items()}


def _square(pictures: Sequence[Image.Image]) -> str:
    gap, side = 4, SIDE // 2 - 2
    square = Image.new("RGBA", (SIDE, SIDE))
    for number, picture in enumerate(pictures[:4]):
        y, x = divmod(number, 2)
        fitted = as_rgb(picture).resize((side, side), Image.Resampling.LANCZOS)
        square.paste(fitted, (x * (side + gap), y * (side + gap)))
    data = io.BytesIO()
    square.save(data, "WEBP", quality=82, method=4)
    return f"data:image/webp;base64,{base64.b64encode(data.getvalue()).decode()}"


def _grid(path: Path, choices: FewShotImages) -> ImageTable:
    require_whole(path)
    try:
        rows = pq.read_table(path).to_pylist()
    except (OSError, pa.ArrowException) as error:
        raise UserError(f"{path}: damaged ({' '.join(str(error).split())}); {remedy_of(path.parent)}") from None
    captions = list(dict.fromkeys(row["caption"] for row in rows))[:ROWS]
    users: list[str | None] = list(dict.fromkeys(row["user"] for row in rows))[: COLUMNS + 1]
    seed = rows[0]["seed"]
    asked = [row for row in rows if row["seed"] == seed and row["caption"] in captions and row["user"] in users]
    files = {(row["caption"], row["user"]): row["file"] for row in asked}
    urls = {key: image_url(path.parent / file, drawn_by="ppd generate") for key, file in files.items()}
    cells = [
        (caption, [(urls[caption, user], "") for user in users if (caption, user) in urls]) for caption in captions
    ]
    names = ["base" if user is None else user for user in users]
    note = f"Seed {seed}, the same noise in each row; user guidance scale {rows[0]['user_guidance']:g}."
    return ImageTable("Images by ppd generate", names, [*_choices(choices, users), *cells], note)


def _comparisons(
    title: str, run: RunResult, one: Measured, units: Sequence[Unit], choices: FewShotImages, note: str = ""
) -> ImageTable:
    """Comparisons beside each other: few-shot choices, the base's images, the users' with their margins."""
    base = [(_image(run, one, "base", unit), _caption(one, "base", unit, "")) for unit in units]
    own = [
        (_image(run, one, "own", unit), _caption(one, "own", unit, margin))
        for unit, margin in zip(units, _margins(one, units), strict=True)
    ]
    rows = [*_choices(choices, [unit[1] for unit in units]), ("base", base), (run.objective, own)]
    return ImageTable(title, [_heading(unit) for unit in units], rows, note)


def _margins(one: Measured, units: Sequence[Unit]) -> list[str]:
    """How much higher the first judge scores each image for the user than the base's."""
    judge = (one.settings["evaluation"].get("judges") or [""])[0]
    names = one.comparisons.column_names if one.comparisons is not None else []
    margins = []
    for unit in units:
        scored = judge if f"own/{judge}" in names else unit[1]  # a reward that is a user scores its own images
        if f"own/{scored}" in names:
            margin = column_at(one, f"own/{scored}", [unit])[0] - column_at(one, f"base/{scored}", [unit])[0]
            margins.append(f"{margin:+.2f}")
        else:
            margins.append("")
    return margins


def _heading(unit: Unit) -> str:
    return f"{unit[2]}, for {unit[1]}"


def _image(run: RunResult, one: Measured, side: str, unit: Unit) -> str | None:
    assert one.comparisons is not None
    if f"{side}_image" not in one.comparisons.column_names:
        return None
    name = one.comparisons[f"{side}_image"][one.rows[unit]].as_py()
    return None if name is None else image_url(run.output / name)


def _caption(one: Measured, side: str, unit: Unit, margin: str) -> str:
    """The words below an image: the margin, and whether the concept was not recognised."""
    assert one.comparisons is not None
    lost = f"{side}/concept" in one.comparisons.column_names and not column_at(one, f"{side}/concept", [unit])[0]
    return ", ".join(word for word in (margin, "concept not recognised" if lost else "") if word)


def _mean_margin(user: Mapping[str, Any]) -> float:
    return float(user.get("margin", user.get("mean margin", float("nan"))))
