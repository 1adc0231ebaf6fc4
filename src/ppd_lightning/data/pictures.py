"""Pictures from bytes, and at the size that the model's own encoder sees.

H, W = height and width.
"""

from __future__ import annotations

import io
from dataclasses import dataclass

import numpy as np
from PIL import Image

from ppd_lightning.errors import UserError

FORMATS = ("JPEG", "PNG", "WEBP", "BMP", "GIF", "TIFF")
"""What is decoded: files come from anywhere, and PIL starts other programs for some formats."""


@dataclass(frozen=True)
class Square:
    """The preprocess of the model's own encoder: shortest side to `size`, centre crop."""

    size: int

    def __call__(self, picture: Image.Image) -> np.ndarray:
        """A picture to (3, size, size) uint8 RGB."""
        try:
            picture, size = picture.convert("RGB"), self.size
        except (OSError, ValueError) as error:
            raise UserError(f"a picture of mode {picture.mode} cannot be shown as RGB ({error})") from None
        width, height = picture.size
        if (width, height) != (size, size):
            side = min(width, height)
            left, top = (width - side) // 2, (height - side) // 2
            box = (left, top, left + side, top + side)
            picture = picture.crop(box).resize((size, size), Image.Resampling.LANCZOS)
        return np.asarray(picture).transpose(2, 0, 1)


def open_picture(data: bytes | None) -> Image.Image | None:
    """A compressed image as it is, in its own size and mode. None if it is damaged."""
    if not data:
        return None
    try:
        with Image.open(io.BytesIO(data), formats=FORMATS) as picture:
            picture.load()
            return picture
    except Exception:  # damaged, truncated, foreign and malicious files make PIL raise almost anything
        return None
