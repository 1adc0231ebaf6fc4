"""The text of a table's file, whatever wrote it: UTF-8 or UTF-16 in either order, with a mark or none, any line ends.

Bytes that are no such text stop the reading with the line where they are: who guesses an encoding changes names.
"""

from __future__ import annotations

import codecs
import io
import re
from collections.abc import Iterator
from typing import Any

from ppd_lightning.errors import UserError

HEAD = 256
"""Bytes by which the encoding is known."""

OTHER_FILES = {
    b"PK\x03\x04": "a zip archive or an Excel workbook",
    b"\xd0\xcf\x11\xe0": "an Excel workbook",
    b"PAR1": "a parquet file",
    b"\x1f\x8b": "compressed by gzip",
    b"\x28\xb5\x2f\xfd": "compressed by zstd",
    b"ARROW1": "an Arrow file",
    b"%PDF": "a PDF",
}
"""What files that are called tables by mistake begin with."""

MARKS = {
    codecs.BOM_UTF32_LE: "utf-32",
    codecs.BOM_UTF32_BE: "utf-32",
    codecs.BOM_UTF16_LE: "utf-16",
    codecs.BOM_UTF16_BE: "utf-16",
    codecs.BOM_UTF8: "utf-8-sig",
}
"""The encodings that byte order marks stand for; the longer marks first, for one begins as another does."""

FOREIGN = re.compile("[\udc80-\udcff]")
"""What stands for a byte that is no UTF-8."""


def text_lines(file: Any, url: str) -> Iterator[str]:
    """The lines of a file, each with its end, from the file's beginning.

    Args:
        file: binary; it can be asked for again.
        url: as messages name it.

    Raises:
        UserError: it is no text, or text in another encoding; with the line.
    """
    file.seek(0)
    encoding = _encoding(file.read(HEAD), url)
    file.seek(0)
    is_utf8 = encoding.startswith("utf-8")
    text = io.TextIOWrapper(file, encoding, "surrogateescape" if is_utf8 else "surrogatepass", newline="")
    number = 0
    try:
        for number, line in enumerate(text, 1):
            foreign = None if line.isascii() or not is_utf8 else FOREIGN.search(line)
            if foreign:
                before = line[: foreign.start()][-20:]
                raise UserError(
                    f"{url}: line {number}: is no UTF-8 text (byte 0x{ord(foreign[0]) - 0xDC00:02X} after {before!r}); "
                    "save it as UTF-8"
                )
            yield line
    except UnicodeDecodeError as error:
        raise UserError(
            f"{url}: line {number + 1}: is no {encoding.upper()} text ({error.reason}); save it as UTF-8"
        ) from None
    finally:
        if not file.closed:
            text.detach()


def _encoding(head: bytes, url: str) -> str:
    for begin, words in OTHER_FILES.items():
        if head.startswith(begin):
            raise UserError(f"{url}: is {words}, whatever its name says; save it as CSV in UTF-8")
    for mark, encoding in MARKS.items():
        if head.startswith(mark):
            return encoding
    first, second, pairs = head[::2].count(0), head[1::2].count(0), len(head) // 2
    if pairs and min(first, second) > pairs / 2:
        raise UserError(f"{url}: is no text; save it as CSV in UTF-8")
    if max(first, second) > pairs / 2:  # Latin letters and their commas have a zero byte each in UTF-16
        return "utf-16-be" if first > second else "utf-16-le"
    return "utf-8"
