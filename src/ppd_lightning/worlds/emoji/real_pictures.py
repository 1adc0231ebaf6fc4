"""The world's own pictures as the oracle knows them: of which concept and style each is, and its statistics.

K = concepts, S = styles, J = image statistics, H = W = side in pixels.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch

from ppd_lightning.data.pictures import Square
from ppd_lightning.data.prepared import PreparedData
from ppd_lightning.rewards.image_statistics import STATISTICS, image_statistics


@dataclass(frozen=True)
class RealPictures:
    """All K concepts in S styles.

    concepts: names. index: concept and style of each image id. statistics: (K, S, J). pixels: (K, S, 3, H, W) uint8.
    """

    concepts: list[str]
    index: dict[str, tuple[int, int]]
    statistics: np.ndarray
    pixels: np.ndarray


def read_real_pictures(data: PreparedData, styles: Sequence[str]) -> RealPictures:
    """Measure all pictures of a prepared world in S styles.

    Raises:
        UserError: the data are not prepared.
    """
    table = data.images_table()
    listed = table.to_pylist()
    concepts = sorted({image["caption"] for image in listed})
    index = {image["image_id"]: (concepts.index(image["caption"]), styles.index(image["model"])) for image in listed}
    statistics = np.empty((len(concepts), len(styles), len(STATISTICS)))
    pixels = np.empty((len(concepts), len(styles), 3, data.image_size, data.image_size), np.uint8)
    for batch in data.read_images(table, [Square(data.image_size)]):
        of_batch = image_statistics(torch.from_numpy(batch.pixels[0]).float() / 255).numpy()
        for image, values, seen in zip(batch.ids, of_batch, batch.pixels[0], strict=True):
            statistics[index[image]], pixels[index[image]] = values, seen
    return RealPictures(concepts, index, statistics, pixels)
