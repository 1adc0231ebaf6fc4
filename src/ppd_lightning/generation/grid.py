"""An image grid with labels: captions down, users across.

B = images, R = rows, K = columns.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image, ImageDraw
from torch import Tensor

from ppd_lightning.masking import for_people

if TYPE_CHECKING:
    from ppd_lightning.figures.fonts import LabelFont

log = logging.getLogger(__name__)

INK, FAINT, PAPER = "#1a1a1a", "#777777", "#ffffff"
BASE = "base"
"""The name of the column without a user."""
SMALLEST_CELL, LARGEST_CELL, LONGEST_SIDE = 112, 256, 16384
"""In pixels: pictures are brought to cells between the first two, smaller only to keep the sheet within the third."""
GAP, LINE = 8, 18
TEXT, SMALL_TEXT = 13, 11
"""Sizes of labels and of the second lines of columns' names, in pixels."""


def draw_grid(
    pictures: Iterable[Iterable[Image.Image]],
    rows: Sequence[str],
    columns: Sequence[str],
    *,
    cell: int = SMALLEST_CELL,
    title: str = "",
) -> Image.Image:
    """Pictures (R, K) as a labelled sheet; a second line in a column's name is drawn fainter.

    Each picture is taken when its cell is drawn, so that a sheet of large ones can be made of files. Labels may
    be of any script. Long names are broken into lines, and cut off where the cell has no room for more.
    """
    # matplotlib comes with the fonts, which whoever draws no sheet does without
    from ppd_lightning.figures.fonts import LabelFont, undrawable

    rows, columns = list(map(for_people, rows)), list(map(for_people, columns))
    missing = undrawable([*rows, *columns, title])
    if missing:
        log.warning("no font of this machine has %s; boxes stand for these letters until one is installed", missing)

    font, small = LabelFont(TEXT), LabelFont(SMALL_TEXT)
    labels = [_lines(name, font, max(cell, 2 * SMALLEST_CELL), max(1, cell // LINE)) for name in rows]
    heads = [_head(name, font, small, cell) for name in columns]
    left = int(max(font.length(line) for lines in labels for line in lines)) + 3 * GAP
    top = (30 if title else 0) + LINE * max(map(len, heads)) + 2 * GAP
    width, height = left + len(columns) * (cell + GAP), top + len(rows) * (cell + GAP)
    sheet = Image.new("RGB", (width, height), PAPER)
    pen = ImageDraw.Draw(sheet)
    if title:
        font.draw(pen, (GAP, GAP), title, INK, "lt")
    for k, head in enumerate(heads):
        for n, (line, ink, face) in enumerate(head):
            y = top - GAP - LINE * (max(map(len, heads)) - n) + LINE / 2
            face.draw(pen, (left + k * (cell + GAP) + cell / 2, y), line, ink, "mm")
    for r, (lines, row) in enumerate(zip(labels, pictures, strict=True)):
        y = top + r * (cell + GAP)
        for n, line in enumerate(lines):
            font.draw(pen, (left - 2 * GAP, y + (cell + LINE * (2 * n + 1 - len(lines))) / 2), line, INK, "rm")
        for k, (_, picture) in enumerate(zip(columns, row, strict=True)):
            sheet.paste(picture.resize((cell, cell), Image.Resampling.LANCZOS), (left + k * (cell + GAP), y))
    return sheet


def cell_for(side: int, rows: int, columns: int) -> int:
    """The side of a cell for pictures of `side` pixels in a sheet of so many rows and columns."""
    fitting = LONGEST_SIDE // max(rows, columns) - GAP
    return max(1, min(max(side, SMALLEST_CELL), LARGEST_CELL, fitting))


def as_pictures(images: Tensor) -> list[list[Image.Image]]:
    """Images (R, K, 3, H, W) float in [0, 1] as 8-bit RGB."""
    return [[as_picture(image) for image in row] for row in images]


def as_picture(image: Tensor) -> Image.Image:
    """An image (3, H, W) float in [0, 1] as 8-bit RGB."""
    return Image.fromarray(as_bytes(image[None])[0])


def as_bytes(images: Tensor) -> np.ndarray:
    """Images (B, 3, H, W) float in [0, 1] to (B, H, W, 3) uint8, rounded."""
    rounded: np.ndarray = images.mul(255).round().clamp(0, 255).byte().permute(0, 2, 3, 1).cpu().numpy()
    return rounded


def _head(name: str, font: LabelFont, small: LabelFont, width: int) -> list[tuple[str, str, LabelFont]]:
    """The lines above a column, each with its colour and font."""
    first, _, second = name.partition("\n")
    head = [(line, INK, font) for line in _lines(first, font, width, 3)]
    return head + [(line, FAINT, small) for line in _lines(second, small, width, 1) if second]


def _lines(text: str, font: LabelFont, width: int, most: int) -> list[str]:
    """Words in lines of at most `width` pixels, at most `most` of them; dots stand for what is left out."""
    lines = [""]
    parts = [part for word in text.split() for part in _parts(word, font, width)]
    for word in parts:
        longer = f"{lines[-1]} {word}".strip()
        if font.length(longer) <= width or not lines[-1]:
            lines[-1] = longer
        else:
            lines.append(word)
    if len(lines) > most:
        lines = [*lines[: most - 1], f"{lines[most - 1]} ..."]
    return [_cut(line, font, width) for line in lines]


def _parts(word: str, font: LabelFont, width: int) -> list[str]:
    """A word that is wider than a line in parts that are not: some scripts have no spaces."""
    parts = [""]
    for letter in word:
        if parts[-1] and font.length(parts[-1] + letter) > width:
            parts.append("")
        parts[-1] += letter
    return parts


def _cut(line: str, font: LabelFont, width: int) -> str:
    if font.length(line) <= width:
        return line
    kept = line.removesuffix(" ...")
    while kept and font.length(f"{kept}...") > width:
        kept = kept[:-1]
    return f"{kept}..."
