"""Models that were distilled to a few steps: they look like the model that they were made from, and are no base."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

FEW_STEPS = re.compile(r"(?<![a-z])(turbo|lightning|lcm|hyper-?sd\w*|dmd2?|flash)(?![a-z])", re.IGNORECASE)
"""What is in their names."""
DISTILLED = (
    "a model that was distilled to a few steps: noise, times and guidance of this training are not those that it "
    "knows; use the model that it was made from"
)


def distilled_by_name(path: Path) -> Iterator[str]:
    """A sentence where the name of `model.path` says so."""
    found = FEW_STEPS.search(path.name)
    if found:
        yield f"model.path: by its name ({found[0]}) {path} is {DISTILLED}; rename it if it is not"
