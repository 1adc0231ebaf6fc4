"""Pictures that rewards can look at."""

from __future__ import annotations

import numpy as np
from PIL import Image

from ppd_lightning.errors import UserError

SMALLEST, MOST_TIMES_AS_LONG = 2, 50
"""Pixels of a picture's side at least, and how many times its shorter side its longer one may be."""


def readable(picture: Image.Image) -> Image.Image:
    """The picture, decoded, with 8 bits a channel; its mode is kept where it has them already.

    PIL would clip 16 bits a channel to 8, so that all but the darkest pixels were white; they are scaled here.

    Raises:
        UserError: it is damaged, or so small or long that there is nothing to see.
    """
    width, height = picture.size
    if min(width, height) < SMALLEST or max(width, height) > MOST_TIMES_AS_LONG * min(width, height):
        raise UserError(
            f"a picture of {width} x {height} pixels cannot be scored: expected at least {SMALLEST} pixels a side, "
            f"and no side more than {MOST_TIMES_AS_LONG} times the other; leave it out"
        )
    try:
        picture.load()
        if not picture.mode.startswith("I;16"):
            return picture
        return Image.fromarray((np.asarray(picture) >> 8).astype(np.uint8))
    except Exception as error:  # damaged and malicious files make PIL raise almost anything
        reason = " ".join(str(error).split())
        raise UserError(f"a picture of {width} x {height} pixels cannot be decoded ({reason}); leave it out") from None
