"""A text about each person from the choices that describe them, as a vision-language model would write one, by a rule.

    python experiments/emoji/figure5/profiles.py FILE [overrides of the configuration]

writes FILE, a CSV of user and text. The two image statistics in which what a person preferred differs most from what
they were shown beside are named; nothing is known of their hidden tastes.

S = shots of a person, J = statistics.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import torch

from ppd_lightning.backbones.released import open_model
from ppd_lightning.config.compose import compose
from ppd_lightning.data import prepared as layout
from ppd_lightning.data.images import Square, read_images
from ppd_lightning.data.pairs import stable_ids
from ppd_lightning.rewards.image_statistics import STATISTICS, image_statistics
from ppd_lightning.storage.atomic import write_text_atomic
from ppd_lightning.users.embeddings import open_user_rows

WORDS = {
    "colourfulness": ("colourful", "pale"),
    "brightness": ("bright", "dark"),
    "clutter": ("detailed", "simple"),
    "ink": ("large", "small"),
}
"""Of each statistic, what much of it is called and what little."""


def main() -> None:
    path, config = Path(sys.argv[1]), compose(["experiment=emoji/ppd", *sys.argv[2:]])
    images: dict[str, np.ndarray] = {}
    table = layout.read_images_table(config)
    for batch in read_images(layout.source_folder(config), table, [Square(config.data.image_size)]):
        values = image_statistics(torch.from_numpy(batch.pixels[0]).float() / 255).numpy()
        images |= dict(zip(batch.ids, values, strict=True))
    deviation = np.stack(list(images.values())).std(0)
    pairs = layout.read_pairs(config)
    sides = zip(pairs["preferred"].to_pylist(), pairs["dispreferred"].to_pylist(), strict=True)
    chosen = dict(zip(stable_ids(pairs["pair_id"]).tolist(), sides, strict=True))
    rows = open_user_rows(config, open_model(config.model))
    texts: dict[str, str] = {}
    for user, shots in zip(rows.users, rows.shots.tolist(), strict=True):
        differences = np.stack([images[chosen[pair][0]] - images[chosen[pair][1]] for pair in shots])  # (S, J)
        mean = differences.mean(0) / deviation
        most = sorted(np.argsort(-np.abs(mean))[:2].tolist())
        words = [WORDS[STATISTICS[one]][0 if mean[one] > 0 else 1] for one in most]
        texts.setdefault(user, f"User Profile: likes {' and '.join(words)} pictures.")
    lines = [("user", "text"), *sorted(texts.items())]
    write_text_atomic(path, "".join(f'{user},"{text}"\n' for user, text in lines))


if __name__ == "__main__":
    main()
