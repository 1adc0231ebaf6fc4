"""Building a package keeps the commit that it is built of: COMMIT in the sdist, ppd_lightning/COMMIT in the wheel."""

from __future__ import annotations

import subprocess
import tempfile
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

FILE = "COMMIT"


class CommitHook(BuildHookInterface[Any]):
    """Of the sdist and of the wheel; an editable installation asks git."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Add the file where a commit is known."""
        root = Path(self.root)
        if version == "editable":
            return
        path = root / FILE  # an unpacked sdist has it
        if not path.is_file():
            commit = _commit(root)
            if not commit:
                return
            path = Path(tempfile.mkdtemp(), FILE)
            path.write_text(commit + "\n", encoding="utf-8")
        build_data["force_include"][str(path)] = FILE if self.target_name == "sdist" else f"ppd_lightning/{FILE}"


def _commit(root: Path) -> str:
    try:
        describe = ["git", "describe", "--always", "--dirty", "--exclude", "*"]
        done = subprocess.run(describe, cwd=root, capture_output=True, text=True, check=True, timeout=10)
    except (OSError, subprocess.SubprocessError):
        return ""
    return done.stdout.strip()
