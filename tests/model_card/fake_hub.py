"""A model hub in a folder, and its client: the methods that are called, with their arguments' names."""

from __future__ import annotations

import shutil
from fnmatch import fnmatch
from pathlib import Path
from types import SimpleNamespace
from typing import Any


class Hub:
    """Of a user who may write everywhere, or is refused.

    made: whether each repository is private.
    """

    def __init__(self, folder: Path, refusal: Exception | None = None) -> None:
        self.folder, self.refusal, self.made = folder, refusal, {"ann/old": False}

    def create_repo(self, repo_id: str, *, private: bool, exist_ok: bool) -> None:
        if self.refusal is not None:
            raise self.refusal
        assert exist_ok
        self.made.setdefault(repo_id, private)

    def upload_folder(self, *, repo_id: str, folder_path: Path, allow_patterns: list[str], commit_message: str) -> Any:
        for path in filter(Path.is_file, sorted(folder_path.rglob("*"))):
            name = path.relative_to(folder_path).as_posix()
            if any(fnmatch(name, pattern) for pattern in allow_patterns):
                (self.folder / repo_id / name).parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(path, self.folder / repo_id / name)
        return SimpleNamespace(commit_url=f"https://hub.invalid/{repo_id}/commit/1")
