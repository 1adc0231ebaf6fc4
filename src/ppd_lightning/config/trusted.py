"""Which classes a file of results may name: what is given away or made by others must not choose what is imported."""

from __future__ import annotations

import re
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ppd_lightning.errors import UserError
from ppd_lightning.settings.flat import flat
from ppd_lightning.storage.yaml_files import yaml_text

TARGET = re.compile(r"^\s*target:\s*[\"']?([\w.]+)", re.MULTILINE)

_modules: set[str] = set()


def trust_options(folder: Path) -> None:
    """Trust the modules whose classes the options below a folder name, for a user gave it."""
    for file in sorted(folder.rglob("*.yaml")):
        try:
            targets = TARGET.findall(yaml_text(file))
        except UserError:
            continue  # composing says so, where it is chosen
        _modules.update(target.rpartition(".")[0] for target in targets)


def untrusted(values: Mapping[str, Any]) -> list[str]:
    """The classes that stored settings name: not of this package, not imported, and in no option of the user."""
    named = {value for key, value in flat(values).items() if key.endswith(".target") and isinstance(value, str)}
    own, known = f"{__name__.partition('.')[0]}.", _modules | sys.modules.keys()
    return [one for one in sorted(named) if not one.startswith(own) and one.rpartition(".")[0] not in known]


def require_trusted(path: Path, values: Mapping[str, Any]) -> None:
    """Raise a `UserError` that names those classes.

    Args:
        path: of the file that holds the settings.
    """
    unknown = untrusted(values)
    if unknown:
        raise UserError(
            f"{path}: it was made with {one}, which is not of this package and is not imported for a file's sake; if "
            "you trust it, give the options that name it by --config-dir, or import it first"
            for one in unknown
        )
