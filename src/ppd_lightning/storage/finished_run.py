"""Whether a training is finished: its .done holds the checksums of its result, and is written last.

`sha256sum -c .done` checks it too. An empty one is of a version that noted no checksums, so nothing is compared there.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from ppd_lightning.errors import UserError
from ppd_lightning.storage.checked_tensors import is_checked
from ppd_lightning.storage.checksums import (
    DONE,
    checksum_faults,
    read_checksums,
    require_checksums,
    write_checksums,
)

RESULT = ("config.yaml", "metrics.csv", "summary.json")
"""What belongs to the result beside the folder's safetensors files."""
LEASE = "training.lease"
"""In a run's folder: the lease of who is training it."""

AGAIN = "run `ppd train` with the same settings, which writes it again from its last checkpoint"


def mark_finished(folder: Path) -> None:
    """Note that the training in `folder` is finished, with the checksums of its result."""
    write_checksums(folder, [*RESULT, *(path.name for path in folder.glob("[!.]*.safetensors"))], DONE)


def reopen(folder: Path) -> None:
    """Take the mark away before files of the result change; `mark_finished` follows."""
    (folder / DONE).unlink(missing_ok=True)


def is_finished(folder: Path) -> bool:
    """Whether there is such a mark, and it is whole; no other file is read."""
    noted = read_checksums(folder, DONE)
    return bool(noted) or (noted is not None and not any(map(is_checked, folder.glob("[!.]*.safetensors"))))


def result_faults(folder: Path) -> list[str]:
    """What is missing of a training's finished result, or differs; every byte of it is read. [] where nothing does."""
    if not is_finished(folder):
        return [f"{folder / DONE}: cut, so the training counts as unfinished"] if (folder / DONE).exists() else []
    needed = [] if read_checksums(folder, DONE) else ["adapter.safetensors", "summary.json"]
    absent = [f"{folder / name}: missing" for name in needed if not (folder / name).is_file()]
    return [*checksum_faults(folder, None, DONE), *absent]


def is_whole(folder: Path) -> bool:
    """Whether a training is finished and all of its result is as it was."""
    return is_finished(folder) and not result_faults(folder)


def require_result(folder: Path, names: Iterable[str]) -> None:
    """Refuse files of a finished training that are not as they were.

    Raises:
        UserError: the training is not finished, or a file is missing or differs; all of them are named.
    """
    if not is_finished(folder):
        reason = f"{folder / DONE}: cut; " if (folder / DONE).exists() else f"{folder}: "
        remedy = (
            "which goes on from the last checkpoint"
            if folder.exists()
            else "or give the settings of a finished training, which `ppd runs` lists"
        )
        raise UserError(
            f"{reason}no finished training of this configuration; run `ppd train` with the same settings, {remedy}"
        )
    require_checksums(folder, names, AGAIN, DONE)
