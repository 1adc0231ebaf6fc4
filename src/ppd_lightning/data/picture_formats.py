"""What a file is, by how it begins: the formats that are read, and the names of others for messages."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable, Mapping

from PIL import features

READ: Mapping[str, str] = {
    "JPEG": "JPEG",
    "PNG": "PNG",
    "WEBP": "WEBP",
    "BMP": "BMP",
    "GIF": "GIF",
    "TIFF": "TIFF",
    "AVIF": "AVIF",
    "JPEG 2000": "JPEG2000",
    "HEIC": "HEIF",
}
"""What is decoded, with Pillow's name: files come from anywhere, and Pillow starts other programs for some formats."""

EXTRA = 'pip install "ppd-lightning[images]"'
NEEDS: Mapping[str, tuple[Callable[[], bool], str]] = {
    "AVIF": (lambda: bool(features.check("avif")), "pip install -U pillow"),
    "JPEG 2000": (lambda: bool(features.check("jpg_2000")), "pip install -U pillow"),
    "WEBP": (lambda: bool(features.check("webp")), "pip install -U pillow"),
    "HEIC": (lambda: importlib.util.find_spec("pillow_heif") is not None, EXTRA),
}
"""Formats that an installation may lack: whether it is there, and what to do where it is not."""

BEGINNINGS: tuple[tuple[bytes, str], ...] = (
    (b"\xff\xd8\xff", "JPEG"),
    (b"\x89PNG\r\n\x1a\n", "PNG"),
    (b"GIF87a", "GIF"),
    (b"GIF89a", "GIF"),
    (b"II*\0", "TIFF"),
    (b"MM\0*", "TIFF"),
    (b"II+\0", "TIFF"),
    (b"MM\0+", "TIFF"),
    (b"\0\0\0\x0cjP  \r\n\x87\n", "JPEG 2000"),
    (b"\xff\x4f\xff\x51", "JPEG 2000"),
    (b"\xff\x0a", "JPEG XL"),
    (b"\0\0\0\x0cJXL \r\n\x87\n", "JPEG XL"),
    (b"8BPS", "PSD"),
    (b"%PDF", "PDF"),
    (b"%!PS", "PostScript"),
    (b"\xc5\xd0\xd3\xc6", "PostScript"),
    (b"DDS ", "DDS"),
    (b"qoif", "QOI"),
    (b"\x76\x2f\x31\x01", "OpenEXR"),
    (b"#?RADIANCE", "Radiance HDR"),
    (b"\0\0\1\0", "ICO"),
    (b"\0\0\2\0", "CUR"),
    (b"icns", "ICNS"),
    (b"\x0a\5\1", "PCX"),
    (b"\x01\xda", "SGI"),
    (b"gimp xcf", "XCF"),
    (b"SIMPLE  =", "FITS"),
    (b"\x89HDF", "HDF5"),
    (b"\x1a\x45\xdf\xa3", "a video"),
    (b"PK\3\4", "a ZIP archive"),
    (b"\x1f\x8b", "a gzip archive"),
    (b"version https://git-lfs", "a pointer of Git LFS (run `git lfs pull`)"),
)
"""How files of a format begin."""

BRANDS: Mapping[bytes, str] = {
    **dict.fromkeys((b"avif", b"avis"), "AVIF"),
    **dict.fromkeys((b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"mif1", b"msf1"), "HEIC"),
}
"""Of containers in the ISO base media format; all others are videos."""

LOOKED_AT = 512
"""Bytes at a file's beginning that are looked at."""


def format_of(data: bytes) -> str | None:
    """The name of a file's format; None where it is none that a picture comes in, as far as is known."""
    head = bytes(data[:LOOKED_AT])
    if head[4:8] == b"ftyp":
        length = min(max(int.from_bytes(head[:4], "big"), 16), len(head))
        brands = [head[8:12], *(head[begin : begin + 4] for begin in range(16, length, 4))]
        known = [BRANDS[brand] for brand in brands if brand in BRANDS]
        return "AVIF" if "AVIF" in known else known[0] if known else "a video"
    if head[:4] == b"RIFF":
        return "WEBP" if head[8:12] == b"WEBP" else "a video or sound"
    if b"TRUEVISION-XFILE" in data[-26:] or _is_tga(head):
        return "TGA"
    for beginning, name in BEGINNINGS:
        if head.startswith(beginning):
            return name
    if head[:2] == b"BM" and int.from_bytes(head[14:18], "little") in (12, 16, 40, 52, 56, 64, 108, 124):
        return "BMP"
    if head[:2] in (b"P1", b"P2", b"P3", b"P4", b"P5", b"P6", b"P7", b"PF", b"Pf") and head[2:3].isspace():
        return "PPM"
    return _text(head)


def is_read(name: str | None) -> bool:
    """Whether files of this format are decoded here."""
    return name is not None and name in READ and (name not in NEEDS or NEEDS[name][0]())


def why_not_read(name: str | None) -> str:
    """What is said of a file whose format is not read."""
    if name is None or name.startswith("a "):
        return f"{name} and no image that can be read" if name else "no image that can be read"
    if name in NEEDS:
        return f"{name}, which this installation does not read; {NEEDS[name][1]}"
    return f"{name}, which is not read; expected one of {', '.join(other for other in READ if is_read(other))}"


def is_cut_off(name: str, data: bytes) -> bool:
    """Whether a damaged file of a format lacks its end."""
    if name == "PNG":
        return b"IEND" not in data
    if name == "WEBP":
        return int.from_bytes(data[4:8], "little") + 8 > len(data)
    if name == "JPEG 2000":
        return not data.endswith(b"\xff\xd9")
    if name in ("AVIF", "HEIC"):
        begin = 0
        while 0 <= begin < len(data):  # boxes, each with its length before it
            length = int.from_bytes(data[begin : begin + 4], "big")
            begin = begin + length if length >= 8 else -1
        return begin > len(data)
    return False


def open_plugins(name: str) -> None:
    """Make Pillow know a format that another package reads."""
    if name == "HEIC":
        import pillow_heif

        pillow_heif.register_heif_opener()


def without_metadata(data: bytes) -> bytes:
    """A PNG without its texts and colour profile, which Pillow refuses where they are large; other files as they are.

    Neither changes a pixel that is read. What is no sound PNG is left to Pillow.
    """
    if not data.startswith(b"\x89PNG\r\n\x1a\n"):
        return data
    kept, begin, dropped = [data[:8]], 8, False
    while begin + 12 <= len(data):
        end = begin + 12 + int.from_bytes(data[begin : begin + 4], "big")
        if data[begin + 4 : begin + 8] in (b"tEXt", b"zTXt", b"iTXt", b"iCCP"):
            dropped = True
        else:
            kept.append(data[begin:end])
        begin = end
    return b"".join([*kept, data[begin:]]) if dropped else data


def _is_tga(head: bytes) -> bool:
    """Whether it may begin a TGA, which has no name of its own there: a header of possible values."""
    if len(head) < 18 or head[1] > 1 or head[2] not in (1, 2, 3, 9, 10, 11) or head[16] not in (8, 15, 16, 24, 32):
        return False
    width, height = int.from_bytes(head[12:14], "little"), int.from_bytes(head[14:16], "little")
    has_colours = head[2] in (1, 9)
    return bool(width and height and head[1] == has_colours and (has_colours or not any(head[3:8])))


def _text(head: bytes) -> str | None:
    """What a text is; None where it is none."""
    begin = head.lstrip(b"\xef\xbb\xbf \t\r\n").lower()
    if begin.startswith((b"<!doctype html", b"<html")):
        return "a web page (HTML)"
    if b"<svg" in begin:
        return "SVG"
    try:
        text = head.decode("utf-8")
    except UnicodeDecodeError as error:
        if error.start < len(head) - 4 or not error.start:
            return None
        text = head[: error.start].decode("utf-8")
    return "a text" if text and all(letter.isprintable() or letter.isspace() for letter in text) else None
