"""The choices of visitors who agreed, in a table of one's own pairs that only grows by whole rows.

A row is written after its pictures, in one call, and synced before the visitor hears of it. So a crash loses nothing
that was collected, and half a row that it may leave is cut off before the next one is written. Each cell is quoted, so
that half a row of this module is never taken for a whole one, nor a whole row of somebody else for half a one.
"""

from __future__ import annotations

import csv
import fcntl
import io
import itertools
import logging
import os
import threading
import zipfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Literal

from ppd_lightning.data.pair_ids import image_uid
from ppd_lightning.data.picture_formats import format_of
from ppd_lightning.errors import UserError
from ppd_lightning.settings.plain_text import plain_text
from ppd_lightning.signals import deferred
from ppd_lightning.storage.atomic import atomic_path
from ppd_lightning.studio.pairs import Shown

log = logging.getLogger(__name__)

COLUMNS = ("caption", "image_0", "image_1", "choice", "user", "model_0", "model_1")
NEEDED = COLUMNS[:5]
Answer = tuple[Shown, int | None]
"""A pair, and which of its pictures was preferred; None for neither."""
Place = tuple[int, bytes]
"""Where a row begins, and what it is."""
PICTURES = "pictures"
"""The folder of the pictures, beside the table."""
LONGEST = 1 << 20
"""Bytes of a row at most."""


class Collection:
    """A CSV table and the folder of its pictures; any number of threads and processes may add to it.

    Args:
        path: of the table; one that is there gets further rows in its own columns.

    Raises:
        UserError: it is no CSV table with the columns of one's own pairs.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._lock = threading.Lock()
        if path.suffix.lower() != ".csv":
            raise UserError(f"studio.collect: {path.name} must end in .csv")
        if path.is_dir():
            raise UserError(f"studio.collect: {path} is a folder; name a file in it")
        path.parent.mkdir(parents=True, exist_ok=True)
        self._columns: list[str] = list(COLUMNS)
        with self._alone() as descriptor:
            header = os.pread(descriptor, LONGEST, 0).partition(b"\n")[0].decode("utf-8-sig", "replace")
        self._columns = next(csv.reader([header.strip()]), [])
        lacking = [name for name in NEEDED if name not in self._columns]
        if lacking:
            raise UserError(
                f"studio.collect: {path} lacks the columns {', '.join(lacking)}; name another file, or a table with "
                f"the columns {', '.join(NEEDED)}, separated by commas"
            )

    def add(self, user: str, choices: Sequence[Answer]) -> list[Place]:
        """Add the choices of somebody, by a name of one line: all of them or, with an OSError, none.

        Returns:
            Where they are, for `remove`.
        """
        rows, files = rows_of(user, choices)
        for name, data in files.items():
            path = self.path.parent / name
            if not path.exists():
                with atomic_path(path) as unfinished:
                    unfinished.write_bytes(data)
        lines = [_line([row.get(name, "") for name in self._columns], csv.QUOTE_ALL) for row in rows]
        if not lines:
            return []
        with self._alone() as descriptor:
            _end_last_row(descriptor, self._columns, self.path)
            begin = os.fstat(descriptor).st_size
            _write(descriptor, b"".join(lines))
        begins = itertools.accumulate(map(len, lines), initial=begin)
        return list(zip(begins, lines, strict=False))

    def remove(self, places: Sequence[Place]) -> None:
        """Take rows back that `add` wrote: off the table's end, or else by empty lines, which are no rows.

        Raises:
            UserError: the table has changed in between.
        """
        with self._alone() as descriptor:
            for begin, line in sorted(places, reverse=True):
                if os.pread(descriptor, len(line), begin) != line:
                    raise UserError("It is kept already and cannot be taken back.")
                if begin + len(line) == os.fstat(descriptor).st_size:
                    os.ftruncate(descriptor, begin)
                else:
                    os.pwrite(descriptor, b"\n" * len(line), begin)
            os.fsync(descriptor)

    @contextmanager
    def _alone(self) -> Iterator[int]:
        """The table, which nobody else writes meanwhile; with a header, also where it was moved away."""
        with self._lock, deferred():
            descriptor = os.open(self.path, os.O_RDWR | os.O_CREAT, 0o666)
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX)
                if not os.fstat(descriptor).st_size:
                    _write(descriptor, _line(self._columns))
                yield descriptor
            finally:
                os.close(descriptor)


def rows_of(user: str, choices: Sequence[Answer]) -> tuple[list[dict[str, str]], dict[str, bytes]]:
    """A row a choice, by column, and the pictures by the paths that are in the rows."""
    rows, files = [], {}
    for pair, chosen in choices:
        row = {"caption": pair.caption, "choice": "tie" if chosen is None else str(chosen), "user": user}
        for side, data in enumerate(pair.files):
            kind = (format_of(data) or "png").lower().replace(" ", "")
            row[f"image_{side}"] = f"{PICTURES}/{image_uid(data)}.{kind}"
            row[f"model_{side}"] = plain_text(pair.models[side])
            files[row[f"image_{side}"]] = data
        rows.append(row)
    return rows, files


def zipped(user: str, choices: Sequence[Answer]) -> bytes:
    """A ZIP archive of choices.csv and its pictures, as `Collection` would write them."""
    rows, files = rows_of(user, choices)
    table = b"".join([_line(COLUMNS), *(_line([row[name] for name in COLUMNS]) for row in rows)])
    target = io.BytesIO()
    with zipfile.ZipFile(target, "w") as archive:
        for name, data in {"choices.csv": table, **files}.items():
            entry = zipfile.ZipInfo(name)  # no time: ZIP knows none before 1980, which clocks that were never set have
            entry.external_attr = 0o644 << 16
            archive.writestr(entry, data)
    return target.getvalue()


def _line(cells: Sequence[str], quoting: Literal[0, 1] = csv.QUOTE_MINIMAL) -> bytes:
    text = io.StringIO()
    csv.writer(text, lineterminator="\n", quoting=quoting).writerow(cells)
    return text.getvalue().encode()


def _end_last_row(descriptor: int, columns: Sequence[str], path: Path) -> None:
    """Remove what a writer that was killed left after the last line's end, or end a whole row that has no end."""
    size = os.fstat(descriptor).st_size
    begin = max(0, size - LONGEST)
    tail = os.pread(descriptor, size - begin, begin)
    if tail.endswith(b"\n"):
        return
    last = tail[tail.rfind(b"\n") + 1 :]
    try:
        cells = next(csv.reader([last.decode("utf-8-sig")], strict=True), [])
    except (UnicodeDecodeError, csv.Error):
        cells = []
    half = _line(cells[:-1], csv.QUOTE_ALL).rstrip(b"\n") + b","  # the last cell of this module's rows is quoted too
    if len(cells) == len(columns) and last != half:
        _write(descriptor, b"\n")
    else:
        log.warning("%s: half a row, which a process that ended left, is removed: %r", path, last)
        os.ftruncate(descriptor, size - len(last))


def _write(descriptor: int, data: bytes) -> None:
    """All of it, at the file's end, and onto the disk; or nothing, with an OSError."""
    begin = os.lseek(descriptor, 0, os.SEEK_END)
    try:
        while data:
            data = data[os.write(descriptor, data) :]
        os.fsync(descriptor)
    except BaseException:
        os.ftruncate(descriptor, begin)
        raise
