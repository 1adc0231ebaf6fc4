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
"""Begins the location of weights that ship with the package."""

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
    def described(self) -> str:
        """What it is, where it comes from, how large it is and its licence."""
        return f"{' and '.join(self.ways[0])}, {self.size}, from {self.origin} (licence: {self.licence})"


def role_location(key: str, location: str, role: Role) -> Path:
    """The file or folder that a location names; what is on the hub is fetched unless that was done before.

    Raises:
        UserError: it looks like a name on the hub, and the hub cannot be reached or does not know it.
    """
    if location.startswith(SHIPPED):
        return Path(str(importlib.resources.files("ppd_lightning"))) / location.removeprefix(SHIPPED)
    path = Path(location).expanduser()
    on_hub = ON_HUB.fullmatch(location)
    if path.exists() or not on_hub:
        return path
    ways = ((on_hub["file"],),) if on_hub["file"] else role.ways
    folder = local_folder(key, on_hub["name"], [ModelPart(ways)])
    return folder / on_hub["file"] if on_hub["file"] else folder


def role_files(location: Path, role: Role) -> list[Path]:
    """The files of a role at a location that has them all, in the order of the way that is complete; else empty."""
    if location.is_file():
        return [location] if role.single else []
    return find(ModelPart(role.ways), location)


def role_faults(key: str, location: str, role: Role) -> Sequence[str]:
    """One sentence on what is not there; none where all is."""
    try:
        path = role_location(key, location, role)
    except UserError as error:
        return [f"{fault}: {role.described}" for fault in error.faults]
    if role_files(path, role):
        return []
    if path.is_file():
        expected = f"{key}: {path} is a file; expected a folder with {role.described}"
        return ["; ".join([expected, role.remedy] if role.remedy else [expected])]
    if not path.is_dir():
        return [f"{key}: there is no file or folder {path}; expected {role.described}"]
    return [f"{key}: {path} lacks {' and '.join(absent(ModelPart(role.ways), path))}; expected {role.described}"]
