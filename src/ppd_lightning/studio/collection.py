"""The choices of visitors who agreed, in a table of one's own pairs that only grows by whole rows.

A row is written after its pictures, in one call, and synced before the visitor hears of it. So a crash loses nothing
that was collected, and half a row that it may leave is cut off before the next one is written.
"""

from __future__ import annotations

import csv
import fcntl
import io
import os
import threading
import zipfile
from collections.abc import Sequence
from pathlib import Path

from ppd_lightning.data.pair_ids import image_uid
from ppd_lightning.data.picture_formats import format_of
from ppd_lightning.errors import UserError
from ppd_lightning.signals import deferred
from ppd_lightning.storage.atomic import atomic_path
from ppd_lightning.studio.pairs import Shown

COLUMNS = ("caption", "image_0", "image_1", "choice", "user", "model_0", "model_1")
NEEDED = COLUMNS[:5]
Answer = tuple[Shown, int | None]
"""A pair, and which of its pictures was preferred; None for neither."""
PICTURES = "pictures"
"""The folder of the pictures, beside the table."""


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
        with path.open("a+b") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            if not os.fstat(file.fileno()).st_size:
                _write(file.fileno(), _line(COLUMNS))
            file.seek(0)
            header = file.readline().decode("utf-8-sig", "replace")
        self._columns = next(csv.reader([header.strip()]), [])
        lacking = [name for name in NEEDED if name not in self._columns]
        if lacking:
            raise UserError(
                f"studio.collect: {path} lacks the columns {', '.join(lacking)}; name another file, or a table with "
                f"the columns {', '.join(NEEDED)}, separated by commas"
            )

    def add(self, user: str, choices: Sequence[Answer]) -> None:
        """Add the choices of somebody, by a name of one line."""
        rows, files = rows_of(user, choices)
        for name, data in files.items():
            path = self.path.parent / name
            if not path.exists():
                with atomic_path(path) as unfinished:
                    unfinished.write_bytes(data)
        lines = b"".join(_line([row.get(name, "") for name in self._columns]) for row in rows)
        if lines:
            with self._lock, deferred(), self.path.open("a+b") as file:
                fcntl.flock(file, fcntl.LOCK_EX)
                _cut_half_row(file.fileno())
                _write(file.fileno(), lines)


def rows_of(user: str, choices: Sequence[Answer]) -> tuple[list[dict[str, str]], dict[str, bytes]]:
    """A row a choice, by column, and the pictures by the paths that are in the rows."""
    rows, files = [], {}
    for pair, chosen in choices:
        row = {"caption": pair.caption, "choice": "tie" if chosen is None else str(chosen), "user": user}
        for side, data in enumerate(pair.files):
            kind = (format_of(data) or "png").lower().replace(" ", "")
            row[f"image_{side}"] = f"{PICTURES}/{image_uid(data)}.{kind}"
            row[f"model_{side}"] = pair.models[side]
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


def _line(cells: Sequence[str]) -> bytes:
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerow(cells)
    return text.getvalue().encode()


def _cut_half_row(descriptor: int) -> None:
    """Remove what a writer that was killed left after the last line's end."""
    size = os.fstat(descriptor).st_size
    begin = max(0, size - (1 << 20))
    tail = os.pread(descriptor, size - begin, begin)
    if not tail.endswith(b"\n"):
        os.ftruncate(descriptor, begin + tail.rfind(b"\n") + 1)


def _write(descriptor: int, data: bytes) -> None:
    """All of it, at the file's end, and onto the disk."""
    while data:
        data = data[os.write(descriptor, data) :]
    os.fsync(descriptor)
