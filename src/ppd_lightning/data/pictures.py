"""Pictures from bytes, as people see them: the one door by which files become pixels.

A picture is upright (EXIF orientation), has 8 bits a channel, and is the first frame of an animation. Where it becomes
RGB it is laid on white, as viewers show it; rewards see it without that, as their packages do. Colour profiles are not
applied.

    8 bits a channel, 1 bit, palettes   as they are
    16 bits a channel                   their upper 8 bits, so that 30000 is 117
    32-bit whole numbers                those of 0 to 255 as they are, else those of 0 to 65535 as 16 bits
    floats                              those of 0 to 1 times 255, else those of 0 to 255 as they are, rounded
    other numbers                       refused

H, W = height and width.
"""

from __future__ import annotations

import io
import re
import warnings
from dataclasses import dataclass

import numpy as np
from PIL import Image, UnidentifiedImageError

from ppd_lightning.data.picture_formats import (
    READ,
    format_of,
    is_cut_off,
    is_read,
    open_plugins,
    why_not_read,
    without_metadata,
)
from ppd_lightning.errors import UserError

MOST_PIXELS = 178_956_970
"""Pixels of a picture at most: Pillow's own bound."""

MOST_BYTES = 512 << 20
"""Bytes of a file at most."""

ORIENTATION = 0x0112
TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
"""What makes a picture upright, by EXIF's orientation."""

SAY_HOW_IT_LIES = ("exif", "Raw profile type exif", "xmp", "XML:com.adobe.xmp")
"""Metadata in which Pillow finds an orientation; a picture that was turned has them no more, or it would be again."""

BITS, PHOTOMETRIC, WHITE_IS_ZERO = 258, 262, 0
"""Tags of TIFF, and a value."""

PLAIN = ("1", "L", "P", "RGB", "CMYK", "YCbCr", "LAB")
"""Modes without transparency, of 8 bits a channel."""


LONG_READ = ("JPEG", "PNG", "WEBP", "BMP", "GIF", "TIFF")
"""Formats that were read from the first."""


class NoPictureError(UserError):
    """Bytes that are no picture that can be read.

    Args:
        reason: in words that fit behind a file's name and "is".
    """

    def __init__(self, reason: str) -> None:
        super().__init__(f"is {reason}")


@dataclass(frozen=True)
class Square:
    """The preprocess of the model's own encoder: shortest side to `size`, centre crop."""

    size: int

    def __call__(self, picture: Image.Image) -> np.ndarray:
        """A picture to (3, size, size) uint8 RGB."""
        picture, size = as_rgb(picture), self.size
        width, height = picture.size
        if (width, height) != (size, size):
            side = min(width, height)
            left, top = (width - side) // 2, (height - side) // 2
            box = (left, top, left + side, top + side)
            picture = picture.crop(box).resize((size, size), Image.Resampling.LANCZOS)
        return np.asarray(picture).transpose(2, 0, 1)


def open_picture(data: bytes | None) -> Image.Image:
    """A file's picture, decoded to its end, in its own size; 8 bits a channel, transparency kept.

    Raises:
        NoPictureError: it is none, is damaged or cut off, is of a format that is not read, or too large.
    """
    return open_marked(data)[0]


def open_marked(data: bytes | None) -> tuple[Image.Image, bool]:
    """As `open_picture`, and whether Pillow alone would give the same RGB: so it is with almost all pictures.

    What was computed before of other pictures (those with orientation, transparency or more bits) is of other pixels.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of large pictures and damaged metadata
        picture, name = _header(data)
        try:
            plain = _is_plain(picture, name, data or b"")
            picture.load()
            return upright(eight_bit(_of_file(picture, data or b""))), plain
        except UserError:
            raise
        except Exception as error:  # damaged, cut off and malicious files make Pillow raise almost anything
            raise _no_picture(name, error, data or b"") from None


def check_header(data: bytes | None) -> bool:
    """Whether a file is a plain picture (`open_marked`) by how it begins; whether the rest is sound, decoding tells.

    Raises:
        NoPictureError: as far as its beginning says.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return _is_plain(*_header(data), data or b"")


def as_rgb(picture: Image.Image) -> Image.Image:
    """A picture of any mode as 8-bit RGB, what is transparent laid on white.

    Raises:
        UserError: its mode or numbers have no meaning as colours.
    """
    try:
        picture = eight_bit(picture)
        if not picture.has_transparency_data:
            return picture.convert("RGB")
        picture = picture.convert("LA") if picture.mode == "La" else picture
        white = Image.new("RGBA", picture.size, "white")
        return Image.alpha_composite(white, picture.convert("RGBA")).convert("RGB")
    except (OSError, ValueError) as error:
        raise UserError(f"a picture of mode {picture.mode} cannot be shown as RGB ({error})") from None


def eight_bit(picture: Image.Image) -> Image.Image:
    """A picture with 8 bits a channel, by the rule above; itself where it has them already.

    Raises:
        NoPictureError: numbers that have no meaning as grey.
    """
    if not (picture.mode in ("I", "F") or picture.mode.startswith("I;16")):
        return picture
    values = np.asarray(picture)
    if picture.mode.startswith("I;16"):
        grey = values >> 8
    else:
        low, high = float(values.min()), float(values.max())
        if not 0 <= low <= high <= (65535 if picture.mode == "I" else 255):
            expected = "0 to 65535" if picture.mode == "I" else "0 to 1 or 0 to 255"
            raise NoPictureError(f"a picture of numbers from {low:g} to {high:g}; expected {expected}, or 8 bits")
        if picture.mode == "I":
            grey = values if high <= 255 else values >> 8
        else:
            grey = np.rint(values * 255 if high <= 1 else values)
    made = Image.fromarray(grey.astype(np.uint8))
    clear = picture.info.get("transparency")
    if isinstance(clear, int):
        made.putalpha(Image.fromarray(np.where(values == clear, 0, 255).astype(np.uint8)))
    return made


def upright(picture: Image.Image) -> Image.Image:
    """A decoded picture as it is to be looked at; itself where that is how it lies."""
    try:
        turn = TURNS.get(picture.getexif().get(ORIENTATION, 1))
    except Exception:  # metadata that cannot be read say nothing
        return picture
    if turn is None:
        return picture
    turned = picture.transpose(turn)
    for name in SAY_HOW_IT_LIES:
        turned.info.pop(name, None)
    return turned


def _header(data: bytes | None) -> tuple[Image.Image, str]:
    """An opened picture of which no pixel is decoded, and its format's name."""
    if not data:
        raise NoPictureError("empty")
    if len(data) > MOST_BYTES:
        raise NoPictureError(f"a file of {len(data) / 1e6:,.0f} MB, more than {MOST_BYTES / 1e6:,.0f} MB")
    name = format_of(data)
    if name is None or not is_read(name):
        raise NoPictureError(why_not_read(name))
    try:
        open_plugins(name)
        picture = Image.open(io.BytesIO(without_metadata(data)), formats=(READ[name],))
    except Exception as error:
        raise _no_picture(name, error, data) from None
    width, height = picture.size
    if not width or not height:
        raise NoPictureError(f"a {name} of {width} x {height} pixels")
    if width * height > MOST_PIXELS:
        raise _too_large(width * height)
    return picture, name


def _of_file(picture: Image.Image, data: bytes) -> Image.Image:
    """A decoded picture with what Pillow leaves aside of its file."""
    clear = picture.info.get("transparency")
    if isinstance(clear, tuple) and data[24:25] == b"\x10" and data[1:4] == b"PNG":
        picture.info["transparency"] = tuple(value >> 8 for value in clear)  # of 16 bits; the colours have 8 by now
    tags = getattr(picture, "tag_v2", {})
    if picture.mode in ("I;16", "I;16B", "I", "F") and tags:
        if tuple(tags.get(BITS, ())) == (12,):
            picture = Image.fromarray(np.asarray(picture) << 4)
        if tags.get(PHOTOMETRIC) == WHITE_IS_ZERO:
            picture = Image.fromarray(255 - np.asarray(eight_bit(picture)))
    return picture


def _is_plain(picture: Image.Image, name: str, data: bytes) -> bool:
    """See `open_marked`; in doubt it is not."""
    if name not in LONG_READ or picture.mode not in PLAIN or picture.has_transparency_data:
        return False
    if name == "PNG":  # Pillow would decode it to find what stands behind its pixels
        return not any(chunk in data for chunk in (b"eXIf", b"iTXt", b"zTXt", b"iCCP"))
    try:
        return picture.getexif().get(ORIENTATION, 1) not in TURNS
    except Exception:  # as in `upright`
        return True


def _no_picture(name: str, error: Exception, data: bytes) -> NoPictureError:
    """What is said where Pillow fails."""
    if isinstance(error, NoPictureError):
        return error
    said = " ".join(str(error).split())
    pixels = re.search(r"\((\d+) pixels\)", said)
    if isinstance(error, Image.DecompressionBombError) and pixels:
        return _too_large(int(pixels[1]))
    if isinstance(error, MemoryError):
        return NoPictureError(f"a {name} that needs more memory than there is")
    if isinstance(error, EOFError) or "truncated" in said.lower() or is_cut_off(name, data):
        return NoPictureError(f"a truncated {name}: its end is missing")
    if isinstance(error, UnidentifiedImageError) or not said:
        return NoPictureError(f"a {name} that is damaged, or of a kind that Pillow does not read")
    return NoPictureError(f"a damaged {name} ({said[:120]})")


def _too_large(pixels: int) -> NoPictureError:
    return NoPictureError(f"a picture of {pixels / 1e6:,.0f} MP, more than {MOST_PIXELS / 1e6:,.0f} MP")
