"""The shipped options: which groups there are, what can be chosen in each, and in which file it is."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

OF_HYDRA = {
    "hydra/launcher": {
        "basic": "",
        "joblib": "launchers",
        "submitit_local": "launchers",
        "submitit_slurm": "launchers",
    },
    "hydra/sweeper": {"basic": "", "optuna": "optuna"},
}
"""What comes with Hydra and its plugins, and which extra of this project brings it."""
DEEPEST = 4
"""Folders inside of each other in which options are looked for."""
LIST_GROUPS = ("reward",)
"""The groups of which any number of options is chosen: reward=[clip,aesthetic]."""


def conf_folder() -> Path:
    """`conf/` of the installed package, or of the repository where it is installed for development."""
    package = Path(__file__).parents[1]
    shipped = package / "conf"
    return shipped if shipped.is_dir() else package.parents[1] / "conf"


def options(config_dir: Path | None = None) -> dict[str, dict[str, Path]]:
    """Every group with its options and their files; those of `config_dir` stand behind the shipped ones.

    A folder inside a group is part of the option's name: `experiment=paper/real` is `experiment/paper/real.yaml`.
    Hydra's own groups lie in its folder: `hydra/launcher=one_gpu` is `hydra/launcher/one_gpu.yaml`.
    """
    found: dict[str, dict[str, Path]] = {}
    for folder in (conf_folder(), *([config_dir] if config_dir is not None else [])):
        for path in _files(folder):
            group, *option = path.relative_to(folder).with_suffix("").parts
            if group == "hydra" and len(option) > 1:
                group = f"{group}/{option.pop(0)}"
            if option:
                found.setdefault(group, {}).setdefault("/".join(option), path)
    return found


def _files(folder: Path, depth: int = DEEPEST) -> Iterator[Path]:
    """The files of YAML in a folder, in alphabetical order; links to nothing are among them, folders are not.

    Somebody's whole home folder may be named, so hidden folders and what lies deep are left out.
    """
    try:
        entries = sorted(folder.iterdir())
    except OSError:
        return
    for entry in entries:
        if entry.is_dir():
            if depth and not entry.name.startswith("."):
                yield from _files(entry, depth - 1)
        elif entry.suffix == ".yaml":
            yield entry
