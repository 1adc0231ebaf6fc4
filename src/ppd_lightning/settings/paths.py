"""Paths as people type them: one rule for `~`, and what no file can be called."""

from __future__ import annotations

import os

LONGEST_NAME, LONGEST_PATH = 255, 4096
"""Bytes of one name in a path, and of a path, on Linux."""


def home_expanded(path: str) -> str:
    """The path with a leading `~` or `~user` replaced by that home folder; URLs and hub names stay as they are.

    A shell does this where the word begins with `~`, but not behind `=`, as in `output=~/runs`.

    Raises:
        ValueError: nobody's home folder is called so, or no file can have such a path; the reason in words.
    """
    if "\0" in path:
        raise ValueError("a path cannot hold the character NUL")
    expanded = os.path.expanduser(path)
    if expanded.startswith("~"):
        name = expanded.partition("/")[0]
        raise ValueError(f"there is no home folder {name}; write ./{name} for a file or folder of that name")
    if "://" not in expanded:
        longest = max(len(os.fsencode(part)) for part in expanded.split("/"))
        if longest > LONGEST_NAME:
            raise ValueError(f"a name in it has {longest:,} bytes, and file systems take {LONGEST_NAME}")
    if len(os.fsencode(expanded)) > LONGEST_PATH:
        raise ValueError(f"it has {len(os.fsencode(expanded)):,} bytes, and a path has at most {LONGEST_PATH:,}")
    return expanded
