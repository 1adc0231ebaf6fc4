"""A tally as a picture: the long tail of pairs a user, the splits, and how the models did."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from ppd_lightning.data.splits import SPLITS
from ppd_lightning.data.tally import Tally

INK, FAINT, LINE, PAPER = "#1a1a1a", "#777777", "#e3e3e3", "#ffffff"
BLUE, LIGHT = "#2b6cb0", "#bcd4ec"
SCALE = 2
"""Everything is drawn larger by this and brought down again, so that lines and letters are smooth."""
PANEL, HEIGHT, MARGIN, ROW = 440, 380, 24, 26
"""Width of each of three panels, height of the picture, space around, height of a bar with its space; in pixels."""
MODELS = 10
"""So many models are shown; the rest are one bar."""


def draw_tally(tally: Tally, title: str) -> Image.Image:
    """Three panels beside each other under a title."""
    sheet = Image.new("RGB", (3 * PANEL * SCALE, HEIGHT * SCALE), PAPER)
    pen = _Pen(sheet)
    pen.text(MARGIN, 14, title, 17)
    users, pairs = len(tally.pairs_per_user), tally.splits["all"].pairs
    median = tally.quantiles()["median"]
    pen.heading(0, "Pairs a user", f"{users:,} users by rank; median {median:,}, most {tally.pairs_per_user[0]:,}")
    _long_tail(pen, tally.pairs_per_user)
    pen.heading(1, "Splits", f"{pairs:,} pairs, {tally.splits['all'].captions:,} captions")
    told = [
        (name, part.pairs / pairs, f"{part.pairs:,} pairs, {part.users:,} users")
        for name, part in ((name, tally.splits[name]) for name in SPLITS)
    ]
    _bars(pen, 1, told)
    if len(tally.models) > 1:
        pen.heading(2, "Models", "share won against other models' images")
        _bars(pen, 2, _model_bars(tally), mark=0.5)
    return sheet.resize((3 * PANEL, HEIGHT), Image.Resampling.LANCZOS)


def _long_tail(pen: _Pen, counts: np.ndarray) -> None:
    """Pairs of the users in the order of their number, both axes logarithmic."""
    left, right, top, bottom = MARGIN + 52, PANEL - MARGIN, 96, HEIGHT - 46
    last, most = _decade(len(counts)), _decade(int(counts[0]))

    def x(rank: float) -> float:
        return left + (right - left) * math.log10(rank) / math.log10(last)

    def y(count: float) -> float:
        return bottom - (bottom - top) * math.log10(count) / math.log10(most)

    for power in range(round(math.log10(most)) + 1):
        pen.line([(left, y(10**power)), (right, y(10**power))], LINE)
        pen.text(left - 6, y(10**power), f"{10**power:,}", 11, FAINT, "rm")
    for power in range(round(math.log10(last)) + 1):
        pen.line([(x(10**power), top), (x(10**power), bottom)], LINE)
        pen.text(x(10**power), bottom + 6, f"{10**power:,}", 11, FAINT, "mt")
    pen.text((left + right) / 2, bottom + 22, "rank of the user (most pairs first)", 11, FAINT, "mt")
    ranks = np.unique(np.geomspace(1, len(counts), 400).round().astype(np.int64))
    curve = [(x(rank), y(counts[rank - 1])) for rank in ranks.tolist()]
    pen.area([*curve, (curve[-1][0], bottom), (curve[0][0], bottom)], LIGHT)
    pen.line(curve, BLUE, 2)


def _bars(pen: _Pen, panel: int, bars: Sequence[tuple[str, float, str]], mark: float | None = None) -> None:
    """Bars (name, share of the width, words behind) below each other; `mark` draws a line at this share."""
    name_right, left, width = panel * PANEL + MARGIN + 96, panel * PANEL + MARGIN + 104, 120
    for number, (name, share, words) in enumerate(bars):
        y = 96 + number * ROW
        pen.text(name_right, y + ROW / 2 - 3, pen.fitting(name, 94, 12), 12, INK, "rm")
        pen.box(left, y, left + width, y + ROW - 7, LINE)
        if share > 0:
            pen.box(left, y, left + max(1.0, width * share), y + ROW - 7, BLUE)
        pen.text(left + width + 8, y + ROW / 2 - 3, words, 11, FAINT, "lm")
    if mark is not None:
        x = left + width * mark
        pen.line([(x, 92), (x, 96 + len(bars) * ROW - 3)], INK)


def _model_bars(tally: Tally) -> list[tuple[str, float, str]]:
    shown = tally.models if len(tally.models) <= MODELS else tally.models[: MODELS - 1]
    bars = []
    for model in shown:
        rate = model.win_rate
        told = "no other" if math.isnan(rate) else f"{100 * rate:.0f} %"
        bars.append((model.name or "unknown", 0.0 if math.isnan(rate) else rate, f"{told}, {model.images:,} images"))
    rest = tally.models[len(shown) :]
    if rest:
        won, lost = sum(model.won for model in rest), sum(model.lost for model in rest)
        images = sum(model.images for model in rest)
        bars.append((f"{len(rest)} others", won / max(1, won + lost), f"{images:,} images"))
    return bars


def _decade(number: int) -> int:
    """The power of ten, 10 at least, that is not below a number."""
    return int(10 ** max(1, math.ceil(math.log10(number))))


class _Pen:
    """Draws in pixels of the finished picture."""

    def __init__(self, sheet: Image.Image) -> None:
        self._draw = ImageDraw.Draw(sheet)

    def heading(self, panel: int, words: str, below: str) -> None:
        self.text(panel * PANEL + MARGIN, 44, words, 14)
        self.text(panel * PANEL + MARGIN, 64, below, 11, FAINT)

    def text(self, x: float, y: float, words: str, size: int, ink: str = INK, anchor: str = "lt") -> None:
        self._draw.text((x * SCALE, y * SCALE), words, ink, ImageFont.load_default(size * SCALE), anchor)

    def fitting(self, words: str, width: float, size: int) -> str:
        """Words that are not wider than so many pixels; dots stand for what is left out."""
        font, kept = ImageFont.load_default(size * SCALE), words
        while kept and font.getlength(kept if kept == words else f"{kept}...") > width * SCALE:
            kept = kept[:-1]
        return kept if kept == words else f"{kept}..."

    def line(self, points: Sequence[tuple[float, float]], ink: str, width: int = 1) -> None:
        self._draw.line([(x * SCALE, y * SCALE) for x, y in points], ink, width * SCALE, joint="curve")

    def area(self, points: Sequence[tuple[float, float]], ink: str) -> None:
        self._draw.polygon([(x * SCALE, y * SCALE) for x, y in points], ink)

    def box(self, left: float, top: float, right: float, bottom: float, ink: str) -> None:
        self._draw.rectangle((left * SCALE, top * SCALE, right * SCALE - 1, bottom * SCALE - 1), ink)
