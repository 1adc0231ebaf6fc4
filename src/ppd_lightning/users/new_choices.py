"""Choices of people who are not in the data."""

from __future__ import annotations

from dataclasses import dataclass

from PIL import Image


@dataclass(frozen=True)
class NewChoice:
    """A choice between two pictures of any size and mode.

    pair_id: 16 hex digits that stand for who chose between what for which caption, whichever was preferred.
    """

    pair_id: str
    caption: str
    preferred: Image.Image
    other: Image.Image
