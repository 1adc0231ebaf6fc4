"""`ppd validate`: the whole configuration as it was composed; a faulty one never gets here."""

from __future__ import annotations

from typing import Any

from ppd_lightning.config.compose import as_yaml
from ppd_lightning.config.folders import data_folder, run_folder
from ppd_lightning.config.root import Config


def run(config: Config) -> dict[str, Any]:
    """Print every value, and the folders that follow from them."""
    folders = {"data": str(data_folder(config)), "run": str(run_folder(config))}
    print(as_yaml(config), end="")
    print("".join(f"# {name} folder: {folder}\n" for name, folder in folders.items()), end="")
    return folders
