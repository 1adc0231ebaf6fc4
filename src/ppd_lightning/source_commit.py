"""Which commit of the source this is: asked of git in a checkout, else of the file that building a package left."""

from __future__ import annotations

import subprocess
from pathlib import Path

HERE = Path(__file__).parent
FILE = "COMMIT"
"""Beside this file in a built package (dev/commit_hook.py)."""


def source_commit() -> str:
    """Some hex digits, with -dirty where files of a checkout differ from it; empty where nothing is known."""
    if _git("ls-files", Path(__file__).name):
        return _git("describe", "--always", "--dirty", "--exclude", "*")
    try:
        return (HERE / FILE).read_text("utf-8").strip()
    except OSError:
        return ""


def _git(*words: str) -> str:
    """What git says in the folder of this file; nothing where it is not there or knows none."""
    try:
        done = subprocess.run(["git", *words], cwd=HERE, capture_output=True, text=True, check=True, timeout=10)
    except (OSError, subprocess.SubprocessError):
        return ""
    return done.stdout.strip()
