"""Pictures small enough for a page, inside of it."""

from __future__ import annotations

import base64
import io
from pathlib import Path

from PIL import Image

SIDE = 192
"""The longest side of a picture among others, in pixels: twice what a page shows, for fine screens."""
SHEET = 1400
"""The longest side of a sheet of pictures."""


def thumbnail(path: Path, longest: int = SIDE) -> str | None:
    """A picture as a data URL (WebP), brought down to `longest` pixels; None where the file is missing or damaged.

    Small pictures keep their pixels, without loss.
    """
    try:
        with Image.open(path) as file:
            picture = file.convert("RGB")
    except OSError:
        return None
    lossless = max(picture.size) <= SIDE // 2
    picture.thumbnail((longest, longest), Image.Resampling.LANCZOS)
    data = io.BytesIO()
    picture.save(data, "WEBP", lossless=lossless, quality=82, method=4)
    return f"data:image/webp;base64,{base64.b64encode(data.getvalue()).decode()}"
