"""Two sides that see pictures, each by networks of its own: one stands behind people's choices, the other judges.

A side sees the style of a picture, how faithful it is to its caption, and how well it is drawn. People choose by what
the side CHOOSING sees, and `ppd evaluate` decides by JUDGING; they share no network, and their judges of style no
training picture.

N = pictures, K = concepts, S = styles, D = vendors' pictures, F = features.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.nn import functional as F

from ppd_lightning.rewards.open_clip import OpenClipReward
from ppd_lightning.worlds.emoji.judges import Judge, load_judge

JUDGING, CHOOSING = "pixels", "statistics"
"""What the sides are called: as their judges of style."""

LEAST = 1e-3
"""A probability of the own concept below this counts as this: nothing is less faithful than wrong."""
NEAREST = 3
"""A picture's distance to the vendors' is the mean over so many of them."""
SHORTEST = 1e-3
"""A distance below this counts as this."""
AT_ONCE = 256

Shares = Callable[[Tensor], Tensor]
"""Images (N, 3, 64, 64) float in [0, 1] to probabilities (N, K) of the world's concepts."""


@dataclass(frozen=True)
class Seen:
    """What a side sees of N pictures.

    styles: (N, S) probabilities. merits: (N, 2), what everybody likes: the log-probability of the own concept among the
    world's, and minus the logarithm of how many times further the picture is from the vendors' nearest than theirs of
    that style are from each other; 0 if it is no further.
    """

    styles: np.ndarray
    merits: np.ndarray


class Side:
    """Sees pictures by a judge of style, and by what recognises concepts.

    Args:
        name: JUDGING, which knows concepts by the judge of concepts, or CHOOSING, by the image-text model that ships.
        concepts: K names.
        drawings: (D, 3, 64, 64) uint8, the vendors' pictures of the world: every concept in all S styles.

    Raises:
        UserError: a file of a network is missing or damaged.
    """

    def __init__(self, name: str, concepts: Sequence[str], drawings: np.ndarray) -> None:
        self._row = {concept: row for row, concept in enumerate(concepts)}
        self._judge = load_judge(name)
        known = self._judge.seen(_as_floats(drawings))[1]
        self._scale = known.std(0).clamp(min=1e-3)
        self._known = known / self._scale
        among = torch.cdist(self._known, self._known).fill_diagonal_(torch.inf)
        self._nearest = min(NEAREST, len(known) - 1)
        own = among.topk(self._nearest, largest=False).values.mean(1).clamp(min=SHORTEST)
        self._usual = own.view(-1, len(self._judge.labels)).median(0).values.log()  # (S,)
        self._shares = shares_of_judge(concepts) if name == JUDGING else shares_of_clip(concepts)

    def see(self, captions: Sequence[str], images: Tensor) -> Seen:
        """N images (N, 3, 64, 64) float in [0, 1] with their captions; one of no concept of the world has merit 0."""
        styles, features = self._judge.seen(images)
        near = torch.cdist(features / self._scale, self._known).topk(self._nearest, largest=False)
        usual = self._usual[near.indices % len(self._usual)].mean(1)
        further = near.values.mean(1).clamp(min=SHORTEST).log() - usual
        rows = torch.tensor([self._row.get(caption, -1) for caption in captions])
        shares = self._shares(images).gather(1, rows.clamp(min=0)[:, None])[:, 0]
        faithful = torch.where(rows < 0, 0.0, shares.clamp(min=LEAST).log())
        return Seen(styles.double().numpy(), torch.stack([faithful, -further.clamp(min=0)], 1).double().numpy())

    def see_pixels(self, captions: Sequence[str], pixels: np.ndarray) -> Seen:
        """As `see`, of pixels (N, 3, 64, 64) uint8."""
        return self.see(captions, _as_floats(pixels))


def shares_of_judge(concepts: Sequence[str]) -> Shares:
    """By the judge of concepts."""
    judge = load_judge("concepts")
    return partial(_among, judge, [judge.labels.index(concept) for concept in concepts])


def _among(judge: Judge, columns: list[int], images: Tensor) -> Tensor:
    found = judge.probabilities(images)[:, columns]
    return found / found.sum(1, keepdim=True)


@torch.no_grad()
def shares_of_clip(concepts: Sequence[str]) -> Shares:
    """By the image-text model that ships, at the scale that it was trained with."""
    reward = OpenClipReward("emoji_clip", {"model": "shipped:worlds/emoji/assets/clip"})
    network: Any = reward.network
    words = F.normalize(network.encode_text(reward.model.tokenizer()([*concepts])).float(), dim=-1)
    scale = network.logit_scale.exp()

    def shares(images: Tensor) -> Tensor:
        found = []
        for part in images.split(AT_ONCE):
            pictures = (part * 255).round().to(torch.uint8).permute(0, 2, 3, 1).numpy()
            pixels = np.stack([reward.preprocess(Image.fromarray(picture)) for picture in pictures])
            found.append((scale * reward.image_features(torch.from_numpy(pixels)) @ words.T).softmax(1))
        return torch.cat(found)

    return shares


def _as_floats(pixels: np.ndarray) -> Tensor:
    return torch.from_numpy(np.ascontiguousarray(pixels)).float() / 255
