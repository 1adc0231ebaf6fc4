"""A text about each person from the choices that describe them, as a vision-language model would write one, by a rule.

    python experiments/emoji/figure5/profiles.py FILE [overrides of the configuration]

writes FILE, a CSV of user and text. The two image statistics in which what a person preferred differs most from
the other images of their pairs are named; nothing is known of their hidden tastes.

S = shots of a person, J = statistics.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import torch

from ppd_lightning.config.compose import compose
from ppd_lightning.config.workspace import Workspace
from ppd_lightning.data.pairs import stable_ids
from ppd_lightning.data.pictures import Square
from ppd_lightning.rewards.image_statistics import STATISTICS, image_statistics
from ppd_lightning.storage.atomic import write_text_atomic

WORDS = {
    "colourfulness": ("colourful", "pale"),
    "brightness": ("bright", "dark"),
    "clutter": ("detailed", "simple"),
    "ink": ("large", "small"),
}
"""Of each statistic, what much of it is called and what little."""


def main() -> None:
    path, users = Path(sys.argv[1]), Workspace(compose(["experiment=emoji/ppd", *sys.argv[2:]])).users
    images: dict[str, np.ndarray] = {}
    for batch in users.data.read_images(users.data.images_table(), [Square(users.data.image_size)]):
        values = image_statistics(torch.from_numpy(batch.pixels[0]).float() / 255).numpy()
        images |= dict(zip(batch.ids, values, strict=True))
    deviation = np.stack(list(images.values())).std(0)
    pairs = users.data.read_pairs()
    sides = zip(pairs["preferred"].to_pylist(), pairs["dispreferred"].to_pylist(), strict=True)
    chosen = dict(zip(stable_ids(pairs["pair_id"]).tolist(), sides, strict=True))
    rows = users.rows()
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
