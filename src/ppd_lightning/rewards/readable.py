"""Pictures that rewards can look at."""

from __future__ import annotations

from PIL import Image

from ppd_lightning.data.pictures import eight_bit, upright
from ppd_lightning.errors import UserError

SMALLEST, MOST_TIMES_AS_LONG = 2, 50
"""Pixels of a picture's side at least, and how many times its shorter side its longer one may be."""


def readable(picture: Image.Image) -> Image.Image:
    """The picture, decoded, upright, with 8 bits a channel; itself where it is so already.

    This is what everything else sees of it too (`data.pictures`), but for what is transparent: that is not laid on
    white, for each reward's package goes its own way with it.

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
        return upright(eight_bit(picture))
    except UserError as error:
        raise UserError(f"a picture of {width} x {height} pixels {error}; leave it out") from None
    except Exception as error:  # damaged and malicious files make PIL raise almost anything
        reason = " ".join(str(error).split())
        raise UserError(f"a picture of {width} x {height} pixels cannot be decoded ({reason}); leave it out") from None
