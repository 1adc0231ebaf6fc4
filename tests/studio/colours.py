"""A studio without a network: pictures are colours, a person likes a direction of colours."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from ppd_lightning.config.compose import compose
from ppd_lightning.studio.model import Choice
from ppd_lightning.studio.pairs import Shown, png
from ppd_lightning.studio.settings import Studio as Settings


class Colours:
    """See `ppd_lightning.studio.model.StudioModel`; what was drawn is noted."""

    guidance = 2.0
    shots = 4

    def __init__(self, pairs: int = 8) -> None:
        self.known: Mapping[str, np.ndarray] = {
            "red": np.array([1.0, 0, 0]),
            "green": np.array([0, 1.0, 0]),
            "<b>blue": np.array([0, 0, 1.0]),
        }
        self.pairs, self.asked = pairs, list[tuple[tuple[str, ...], bool, int, float]]()

    def vector(self, choices: Sequence[Choice]) -> np.ndarray:
        return np.mean([_colour(liked) - _colour(other) for _, liked, other in choices], axis=0)

    def people_file(self, choices: Sequence[Choice], name: str) -> bytes:
        return f"{name} {len(choices)}".encode()

    def next_pair(self, choices: Sequence[Choice], skipped: Collection[int]) -> int | None:
        return next((number for number in range(self.pairs) if number not in skipped), None)

    def draw(self, captions: Sequence[str], vector: np.ndarray | None, seed: int, guidance: float) -> list[Image.Image]:
        self.asked.append((tuple(captions), vector is not None, seed, guidance))
        colour = np.zeros(3) if vector is None else np.clip(255 * vector * guidance / self.guidance, 0, 255)
        return [Image.new("RGB", (4, 4), (*(int(part) for part in colour[:2]), seed % 256)) for _ in captions]


def shown(count: int = 8) -> list[Shown]:
    found = []
    for number in range(count):
        pictures = Image.new("RGB", (4, 4), (200, number, 0)), Image.new("RGB", (4, 4), (0, number, 200))
        found.append(Shown(f"thing {number}", pictures, (png(pictures[0]), png(pictures[1])), ("one", "other")))
    return found


def settings(**changes: Any) -> Settings:
    return Settings(**_shipped() | changes)


@cache
def _shipped() -> dict[str, Any]:
    shipped = compose().studio
    return {name: getattr(shipped, name) for name in Settings.__dataclass_fields__}


def files(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())


def _colour(picture: Image.Image) -> np.ndarray:
    return np.asarray(picture, np.float64)[0, 0] / 255
