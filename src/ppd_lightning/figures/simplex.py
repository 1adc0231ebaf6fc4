"""The images of a grid of blends at their weights: a line between two users, a triangle of three.

G = points of the grid.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib.figure import Figure
from PIL import Image

from ppd_lightning.figures.files import DOTS_PER_INCH
from ppd_lightning.figures.style import new_figure, shortened, styled

GAP = 0.06
"""Between neighbouring images, as a share of an image's side."""


@styled
def simplex_figure(pictures: Sequence[Image.Image], weights: np.ndarray, names: Sequence[str], *, cell: int) -> Figure:
    """Images, one a point of `evaluation.simplex.simplex_grid`, with the users' names at the corners.

    Two users are left and right; of three the first is above, the second left and the third right.

    Args:
        pictures: G.
        weights: (G, 2) or (G, 3), rows that add up to 1.
        names: of the users.
        cell: side of an image in pixels of the PNG.

    Raises:
        ValueError: there are not two or three users.
    """
    if len(names) not in (2, 3) or weights.shape != (len(pictures), len(names)):
        raise ValueError(f"expected weights of two or three users, got {weights.shape} and {len(pictures)} pictures")
    triangle = len(names) == 3
    step = (1 + GAP) / np.diff(np.unique(weights[:, 0])).min()  # from corner to corner, in sides of an image
    up = weights[:, 0] * step if triangle else np.zeros(len(weights))
    across = weights[:, -1] * step + up / 2
    margin = 0.35 * DOTS_PER_INCH / cell  # of the names, in sides of an image
    width, height = step + 1 + 2 * GAP, (step if triangle else 0) + 1 + margin * (1 + triangle)
    figure, axes = new_figure("", width * cell / DOTS_PER_INCH, height * cell / DOTS_PER_INCH)
    figure.set_layout_engine("none")
    axes.set_position((0, 0, 1, 1))
    axes.set_axis_off()
    for picture, x, y in zip(pictures, across, up, strict=True):
        small = picture.convert("RGB").resize((cell, cell), Image.Resampling.LANCZOS)
        axes.imshow(np.asarray(small), extent=(x, x + 1, y, y + 1), interpolation="none")
    axes.set_xlim(-GAP, width - GAP)
    axes.set_ylim(-margin, height - margin)
    axes.text(0, -margin / 2, shortened(names[-2], 24), ha="left", va="center")
    axes.text(width - 2 * GAP, -margin / 2, shortened(names[-1], 24), ha="right", va="center")
    if triangle:
        axes.text(width / 2 - GAP, height - 1.5 * margin, shortened(names[0], 24), ha="center", va="center")
    return figure
