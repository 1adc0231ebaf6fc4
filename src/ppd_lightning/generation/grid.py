"""A picture of pictures: captions down, people across, with names."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor

INK, FAINT, PAPER = "#1a1a1a", "#777777", "#ffffff"


def draw_grid(
    images: Tensor, rows: Sequence[str], columns: Sequence[str], *, cell: int = 112, title: str = ""
) -> Image.Image:
    """Images (R, K, 3, H, W) float in [0, 1] as a labelled sheet; a second line in a column's name is drawn fainter."""
    font, small = ImageFont.load_default(15), ImageFont.load_default(12)
    gap = 8
    left = int(max(font.getlength(name) for name in rows)) + 3 * gap
    lines = max(name.count("\n") for name in columns) + 1
    top = (30 if title else 0) + 18 * lines + 2 * gap
    width, height = left + len(columns) * (cell + gap), top + len(rows) * (cell + gap)
    sheet = Image.new("RGB", (width, height), PAPER)
    pen = ImageDraw.Draw(sheet)
    if title:
        pen.text((gap, gap), title, INK, font)
    for k, name in enumerate(columns):
        for n, line in enumerate(name.split("\n")):
            middle = left + k * (cell + gap) + cell / 2
            pen.text((middle, top - gap - 18 * (lines - n) + 9), line, FAINT if n else INK, small if n else font, "mm")
    for r, name in enumerate(rows):
        y = top + r * (cell + gap)
        pen.text((left - 2 * gap, y + cell / 2), name, INK, font, "rm")
        for k in range(len(columns)):
            picture = as_picture(images[r, k]).resize((cell, cell), Image.Resampling.LANCZOS)
            sheet.paste(picture, (left + k * (cell + gap), y))
    return sheet


def as_picture(image: Tensor) -> Image.Image:
    """An image (3, H, W) float in [0, 1] as 8-bit RGB."""
    return Image.fromarray(as_bytes(image[None])[0])


def as_bytes(images: Tensor) -> np.ndarray:
    """Images (B, 3, H, W) float in [0, 1] to (B, H, W, 3) uint8, rounded."""
    rounded: np.ndarray = images.mul(255).round().clamp(0, 255).byte().permute(0, 2, 3, 1).cpu().numpy()
    return rounded
