"""The emoji world as its judges see it: people's hidden utilities of pictures, and the oracle beside them.

N = comparisons, K = concepts, S = styles, J = image statistics.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from ppd_lightning.config.folders import data_folder
from ppd_lightning.config.schemas import Config, EmojiData
from ppd_lightning.data import prepared as layout
from ppd_lightning.data.images import Square, read_images
from ppd_lightning.data.pairs import stable_ids
from ppd_lightning.evaluation.comparisons import Comparison
from ppd_lightning.rewards.image_statistics import image_statistics
from ppd_lightning.users.embeddings import UserRows
from ppd_lightning.worlds.emoji.judges import Judge
from ppd_lightning.worlds.emoji.oracle import Oracle
from ppd_lightning.worlds.emoji.people import read_people, utilities


class EmojiWorld:
    """Opens a prepared emoji world with the truth about its people.

    Raises:
        UserError: the data are not prepared.
    """

    def __init__(self, config: Config, data: EmojiData) -> None:
        self.config, self.data = config, data
        self.people = read_people(data_folder(config) / "people.json")
        listed = layout.read_images_table(config).to_pylist()
        self.concepts = sorted({image["caption"] for image in listed})
        styles = {style: place for place, style in enumerate(self.people.styles)}
        self._places = {
            image["image_id"]: (self.concepts.index(image["caption"]), styles[image["model"]]) for image in listed
        }
        self.statistics = self._real_statistics()

    def utilities(self, comparisons: Sequence[Comparison], images: Tensor, judge: Judge) -> np.ndarray:
        """What the person of each comparison thinks of its image, (N,); the judge says in which style it is drawn.

        Args:
            images: (N, 3, H, W) float in [0, 1].
        """
        return self._own(comparisons, judge.probabilities(images).numpy(), image_statistics(images).numpy())

    def oracle_utilities(self, comparisons: Sequence[Comparison], rows: UserRows) -> np.ndarray:
        """The same of the real picture that the best guess at the person's taste would choose, (N,).

        Args:
            rows: the embeddings in use, a row a comparison: the oracle sees the shots that the model sees.
        """
        oracle = Oracle(
            self.statistics,
            self.people.styles,
            self.people.statistics,
            self.data.choice_temperature,
            seed=self.data.seed,
        )
        concept = np.array([self.concepts.index(comparison.caption) for comparison in comparisons])
        sets, own = np.unique(rows.shots, axis=0, return_inverse=True)
        style = np.empty(len(comparisons), np.int64)
        for number, shots in enumerate(self._shots(sets)):
            style[own == number] = oracle.styles_for(shots[:, 0], shots[:, 1], concept[own == number])
        return self._own(comparisons, np.eye(len(self.people.styles))[style], self.statistics[concept, style])

    def _own(self, comparisons: Sequence[Comparison], styles: np.ndarray, statistics: np.ndarray) -> np.ndarray:
        """Utilities (N,) of images with style probabilities (N, S) and statistics (N, J), each to its own person."""
        users = [comparison.user for comparison in comparisons]
        known = sorted(set(users))
        rows = np.searchsorted(known, users)
        liked = utilities(self.people.select(known), styles, statistics)
        own: np.ndarray = liked[rows, np.arange(len(users))]
        return own

    def _shots(self, sets: np.ndarray) -> list[np.ndarray]:
        """Concept and style of the preferred picture of each shot of sets of pairs (R, S): R times (S, 2)."""
        pairs = layout.read_pairs(self.config)
        preferred = dict(zip(stable_ids(pairs["pair_id"]).tolist(), pairs["preferred"].to_pylist(), strict=True))
        return [np.array([self._places[preferred[pair]] for pair in shots]) for shots in sets.tolist()]

    def _real_statistics(self) -> np.ndarray:
        """Statistics (K, S, J) of the world's own pictures."""
        measured = np.empty((len(self.concepts), len(self.people.styles), len(self.people.statistics)))
        table = layout.read_images_table(self.config)
        for batch in read_images(layout.source_folder(self.config), table, [Square(self.config.data.image_size)]):
            of_batch = image_statistics(torch.from_numpy(batch.pixels[0]).float() / 255).numpy()
            for image, values in zip(batch.ids, of_batch, strict=True):
                measured[self._places[image]] = values
        return measured
