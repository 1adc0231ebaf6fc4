"""Where a reward's weights lie: a file, a folder, a name on the model hub, or what ships with the package."""

from __future__ import annotations

import importlib.resources
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from ppd_lightning.backbones.files import ModelPart, absent, find, local_folder
from ppd_lightning.errors import UserError

SHIPPED = "shipped:"
"""Begins the place of weights that ship with the package."""

ON_HUB = re.compile(r"(?P<name>[\w-][\w.-]*/[\w-][\w.-]*)(:(?P<file>[\w./+-]+))?")


@dataclass(frozen=True)
class Role:
    """One part of a reward's weights.

    ways: each is a set of files that is enough in a folder or a hub's repository; the first is the usual one.
    origin: where the released files come from. size: of the usual files. licence: of the released files.
    single: whether one file elsewhere, whatever its name, will do. remedy: what else to do about a file, where not.
    """

    ways: tuple[tuple[str, ...], ...]
    origin: str
    size: str
    licence: str
    single: bool = False
    remedy: str = ""

    @property
    def told(self) -> str:
        """What it is, where it comes from, how large it is and its licence."""
        return f"{' and '.join(self.ways[0])}, {self.size}, from {self.origin} (licence: {self.licence})"


def role_place(key: str, place: str, role: Role) -> Path:
    """The file or folder that a place names; what is on the hub is fetched unless that was done before.

    Raises:
        UserError: it looks like a name on the hub, and the hub cannot be reached or does not know it.
    """
    if place.startswith(SHIPPED):
        return Path(str(importlib.resources.files("ppd_lightning"))) / place.removeprefix(SHIPPED)
    path = Path(place).expanduser()
    on_hub = ON_HUB.fullmatch(place)
    if path.exists() or not on_hub:
        return path
    ways = ((on_hub["file"],),) if on_hub["file"] else role.ways
    folder = local_folder(key, on_hub["name"], [ModelPart(ways)])
    return folder / on_hub["file"] if on_hub["file"] else folder


def role_files(place: Path, role: Role) -> list[Path]:
    """The files of a role at a place that has them all, in the order of the way that is complete; else empty."""
    if place.is_file():
        return [place] if role.single else []
    return find(ModelPart(role.ways), place)


def role_faults(key: str, place: str, role: Role) -> Sequence[str]:
    """One sentence on what is not there; none where all is."""
    try:
        path = role_place(key, place, role)
    except UserError as error:
        return [f"{fault}: {role.told}" for fault in error.faults]
    if role_files(path, role):
        return []
    if path.is_file():
        expected = f"{key}: {path} is a file; expected a folder with {role.told}"
        return ["; ".join([expected, role.remedy] if role.remedy else [expected])]
    if not path.is_dir():
        return [f"{key}: there is no file or folder {path}; expected {role.told}"]
    return [f"{key}: {path} lacks {' and '.join(absent(ModelPart(role.ways), path))}; expected {role.told}"]
