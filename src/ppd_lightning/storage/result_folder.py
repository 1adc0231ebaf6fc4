"""A folder with what a verb found: summary.json and other files, finished by their checksums (`storage.checksums`)."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from ppd_lightning.errors import UserError
from ppd_lightning.storage.atomic import write_json_atomic
from ppd_lightning.storage.checksums import (
    DONE,
    SUMS,
    checksum_faults,
    require_checksums,
    require_there,
    write_checksums,
)
from ppd_lightning.storage.finished_run import AGAIN
from ppd_lightning.storage.json_files import read_json

log = logging.getLogger(__name__)

SUMMARY = "summary.json"


def finish_folder(folder: Path, summary: Mapping[str, Any], files: Iterable[str] = ()) -> None:
    """Write summary.json, and then the checksums of it and of `files`, which lie there already."""
    (folder / SUMS).unlink(missing_ok=True)
    write_json_atomic(folder / SUMMARY, summary)
    write_checksums(folder, [*files, SUMMARY])


def finished_summary(folder: Path) -> dict[str, Any] | None:
    """The summary of a finished folder, every file of which was compared; None where it is to be made, or made again.

    What is damaged is named in the log. A folder without checksums is one that was cut off, or of an earlier version.
    """
    if not (folder / SUMS).exists():
        return None
    try:
        faults = checksum_faults(folder)
        if not faults:
            return read_json(folder / SUMMARY, "it is made again")
    except (OSError, UserError) as error:
        faults = [str(error)]
    for fault in faults:
        log.warning("%s; what it belongs to is made again", fault)
    return None


def result_files(parent: Path, kind: str, name: str = SUMMARY) -> Iterator[Path]:
    """The files called `name` in the folders `{kind}-{fingerprint}` of `parent`, by folder; their bytes are not read.

    Raises:
        UserError: a finished folder lacks one of its files; the verb that makes it again is named.
    """
    for folder in sorted(parent.glob(f"{kind}-*")):
        require_there(folder, remedy_of(folder))
        if (folder / name).exists():
            yield folder / name


def require_whole(path: Path) -> None:
    """Refuse a file of a finished folder or training that is not as it was; those of earlier versions pass.

    Raises:
        UserError: it is missing or differs; the verb that makes it again is named.
    """
    folder = path.parent
    checksums = DONE if (folder / DONE).exists() else SUMS
    require_checksums(folder, [path.name], remedy_of(folder), checksums)


def remedy_of(folder: Path) -> str:
    """The words that say how a folder `{kind}-{fingerprint}`, or that of a training, is made again."""
    if (folder / "config.yaml").exists() or (folder / DONE).exists():
        return AGAIN
    verbs = {"evaluation": "evaluate", "interpolation": "interpolate", "generation": "generate"}
    kind = folder.name.partition("-")[0]
    return f"run `ppd {verbs.get(kind, kind)}` with the same settings, which makes it again"
