"""Drawn pictures, read whole or not at all: each chunk of a PNG has a CRC-32, which decoders leave out for pixels."""

from __future__ import annotations

import struct
import zlib
from pathlib import Path

from PIL import Image

from ppd_lightning.data.pictures import as_rgb, open_picture
from ppd_lightning.errors import UserError
from ppd_lightning.storage.file_state import FileState

SIGNATURE = b"\x89PNG\r\n\x1a\n"
LAST = b"IEND"

_whole: set[FileState] = set()


def png_fault(path: Path) -> str | None:
    """What is wrong with a PNG file, by every byte of it; None where nothing is.

    A file that was found whole is not read again by this process for as long as its state stays.
    """
    try:
        state = FileState.of(path)
        if state in _whole:
            return None
        fault = _fault(path.read_bytes())
    except FileNotFoundError:
        return "missing"
    except OSError as error:
        return f"cannot be read ({error.strerror or error})"
    if fault is None:
        _whole.add(state)
    return fault


def read_picture(file: Path) -> Image.Image:
    """An image of a gallery, 8-bit RGB.

    Raises:
        UserError: it is missing or damaged.
    """
    fault = png_fault(file)
    if fault is None:
        try:
            return as_rgb(open_picture(file.read_bytes()))
        except (OSError, UserError) as error:
            fault = f"damaged ({error})"
    raise UserError(f"{file}: {fault}; run the command that drew it again, which draws it anew")


def _fault(data: bytes) -> str | None:
    if not data.startswith(SIGNATURE):
        return "damaged (no PNG file)"
    at = len(SIGNATURE)
    while at + 12 <= len(data):
        (size,) = struct.unpack_from(">I", data, at)
        name, end = data[at + 4 : at + 8], at + 12 + size
        if end > len(data):
            break
        if zlib.crc32(data[at + 4 : end - 4]) != struct.unpack_from(">I", data, end - 4)[0]:
            return "damaged (the checksum of its pixels or of its header differs)"
        if name == LAST:
            return None if end == len(data) else "damaged (bytes follow its end)"
        at = end
    return "damaged (cut short)"
