"""A simulated world from outside of the package: people who like light or dark. A source, its truth, one YAML."""

from __future__ import annotations

import datetime
import io
import itertools
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image

from ppd_lightning.data.parquet_files import ParquetFiles
from ppd_lightning.data.pickapic import SCHEMA
from ppd_lightning.data.source import Source
from ppd_lightning.settings.part import settings
from ppd_lightning.settings.values import Count
from ppd_lightning.storage.atomic import atomic_path

if TYPE_CHECKING:
    from torch import Tensor

    from ppd_lightning.data.prepared import PreparedData

COLOURS = {"red": (1, 0, 0), "green": (0, 1, 0), "blue": (0, 0, 1), "yellow": (1, 1, 0), "cyan": (0, 1, 1)}
"""The captions, and which channels are strong."""
LEVELS = (60, 120, 180)
JUDGES = ("mean", "middle")


def weight(user: str) -> float:
    """How much somebody likes light."""
    return 4.0 if int(user) % 2 else -4.0


class Light:
    """What is known of these people, `data.simulation.Simulation`: weights by name, judges of brightness."""

    judges = JUDGES
    contents = frozenset(COLOURS)

    def __init__(self, weights: Mapping[str, float]) -> None:
        self.weights = weights

    def utilities(self, judge: str, users: Sequence[str], captions: Sequence[str], images: Tensor) -> np.ndarray:
        light = images.mean((1, 2, 3)) if judge == "mean" else images.flatten(1).median(1).values
        return np.array([self.weights[user] for user in users]) * (light.double().numpy() - 0.5)

    def best_utilities(self, users: Sequence[str], captions: Sequence[str], shots: np.ndarray) -> np.ndarray:
        return np.abs([self.weights[user] for user in users]) / 2

    def content(self, captions: Sequence[str], images: Tensor) -> dict[str, np.ndarray]:
        channels = images.mean((2, 3))
        strong = (channels > channels.mean(1, keepdim=True)).numpy()
        same = strong == np.array([COLOURS[caption] for caption in captions], bool)
        return {"concept": same.all(1), "concept_channels": same.mean(1)}

    def representatives(self, users: Sequence[str]) -> list[tuple[str, str]]:
        return [(user, f"{user}\nlikes {'light' if self.weights[user] > 0 else 'dark'}") for user in users]


@settings
class LightSource(Source):
    """Plain pictures of a colour, three of different brightness, and people who choose between them."""

    people: Count
    """How many."""

    simulated: ClassVar[bool] = True
    judges: ClassVar[tuple[str, ...]] = JUDGES

    def make(self, folder: Path, output: Path) -> None:
        """Let everybody choose between all pictures of a colour."""
        asked = itertools.product(range(self.people), COLOURS, itertools.combinations(LEVELS, 2))
        rows = [_row(number, *one) for number, one in enumerate(asked)]
        with atomic_path(folder / "source/choices.parquet") as path:
            pq.write_table(pa.Table.from_pylist(rows, SCHEMA), path)

    def parquet(self, folder: Path) -> ParquetFiles:
        """What `make` writes."""
        return ParquetFiles(str(folder / "source"))

    def test_captions(self, captions: Iterable[str]) -> frozenset[str]:
        """One colour."""
        return frozenset({"cyan"})

    def unseen(self, users: Iterable[str]) -> frozenset[str]:
        """The last third of the people."""
        return frozenset(user for user in users if 3 * int(user) >= 2 * self.people)

    def description(self) -> str:
        """See the base class."""
        return "People who like light or dark."

    def simulation(self, data: PreparedData) -> Light:
        """Their weights."""
        return Light({user: weight(user) for users in data.people().values() for user in users})


def _row(number: int, user: int, caption: str, levels: tuple[int, int]) -> dict:
    first = (levels[0] > levels[1]) == (weight(str(user)) > 0)
    row = dict.fromkeys(SCHEMA.names) | {
        "caption": caption,
        "created_at": datetime.datetime(2024, 1, 1),
        "has_label": True,
        "label_0": float(first),
        "label_1": float(not first),
        "ranking_id": number,
        "user_id": user,
    }
    for side, level in enumerate(levels):
        file = io.BytesIO()
        strength = [level * (1 if strong else 0.5) for strong in COLOURS[caption]]
        Image.new("RGB", (32, 32), tuple(map(round, strength))).save(file, "PNG")
        row |= {f"image_{side}_uid": f"{caption} {level}", f"jpg_{side}": file.getvalue()}
    return row
