"""What an export needs to see the pictures of new people's choices."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class EncoderCode:
    """The code by which an export sees pictures, as the training saw its own.

    modules: by import path; they import Python's own, what drawing imports, `packages` and each other.
    opens: import path of a function among them. It is called with the export's folder, the base (`interfaces.Base`),
        what `draw.py --encoder` names (None is nothing) and `settings`. It gives a callable, N pictures to features
        (N, F), and the fingerprint of its networks, which is `UserKind.seen_by` where they are those of the training.
    settings: keywords; plain values.
    files: what goes along, bytes by name.
    packages: on PyPI, which drawing does not need.
    words: what sees the pictures and where it comes from, for the model card.
    """

    modules: tuple[str, ...]
    opens: str
    words: str
    settings: Mapping[str, Any]
    files: Mapping[str, bytes] = field(default_factory=dict)
    packages: tuple[str, ...] = ()
