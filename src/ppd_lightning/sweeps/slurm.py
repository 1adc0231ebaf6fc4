"""What a Slurm cluster allows."""

from __future__ import annotations

import re
import subprocess
from functools import cache


@cache
def largest_array() -> int | None:
    """How many jobs an array may have (MaxArraySize, at least 1), or None where the cluster does not say."""
    try:
        output = subprocess.run(
            ["scontrol", "show", "config"], capture_output=True, text=True, timeout=60, check=True
        ).stdout
    except (OSError, subprocess.SubprocessError):
        return None
    found = re.search(r"^MaxArraySize\s*=\s*(\d+)", output, re.MULTILINE)
    return None if found is None else max(1, int(found[1]))
