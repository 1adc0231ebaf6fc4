"""The images of a grid of blends where their weights put them: a line between two users, a triangle of three.

G = points of the grid.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from PIL import Image, ImageDraw, ImageFont

INK, PAPER = "#1a1a1a", "#ffffff"
GAP, LINE = 6, 22


def draw_simplex(
    pictures: Sequence[Image.Image], weights: np.ndarray, names: Sequence[str], *, cell: int
) -> Image.Image:
    """Pictures, one a point of `evaluation.simplex.simplex_grid`, with the users' names at the corners.

    Two users are left and right; of three the first is above, the second left and the third right.

    Args:
        pictures: G.
        weights: (G, 2) or (G, 3), rows that add up to 1.
        names: of the users.
        cell: side of a picture in pixels.

    Raises:
        ValueError: there are not two or three users.
    """
    if len(names) not in (2, 3) or weights.shape != (len(pictures), len(names)):
        raise ValueError(f"expected weights of two or three users, got {weights.shape} and {len(pictures)} pictures")
    divisions = round(1 / np.diff(np.unique(weights[:, 0])).min())
    step = cell + GAP
    width = (divisions + 1) * step + GAP
    above = LINE if len(names) == 3 else 0
    height = above + (len(names) == 3) * divisions * step + step + LINE + GAP
    sheet = Image.new("RGB", (width, height), PAPER)
    pen, font = ImageDraw.Draw(sheet), ImageFont.load_default(15)
    last = height - LINE - GAP
    for picture, point in zip(pictures, weights, strict=True):
        top = point[0] if len(names) == 3 else 0.0
        right = point[-1]
        x = GAP + round(divisions * step * (right + top / 2))
        y = last - step - round(divisions * step * top)
        sheet.paste(picture.resize((cell, cell), Image.Resampling.LANCZOS), (x, y))
    if len(names) == 3:
        pen.text((width / 2, LINE / 2 + 2), names[0], INK, font, "mm")
    pen.text((GAP, last + LINE / 2), names[-2], INK, font, "lm")
    pen.text((width - GAP, last + LINE / 2), names[-1], INK, font, "rm")
    return sheet
