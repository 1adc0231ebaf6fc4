"""Features of the images of a person's choices, gathered for sets of shots.

N = images, F = features, R = sets of shots, S = shots of a set, E = width of an embedding.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import torch
from torch import Tensor

from ppd_lightning.data.pictures import Square
from ppd_lightning.data.prepared import PreparedData
from ppd_lightning.errors import UserError
from ppd_lightning.rewards.scoring import Scorer
from ppd_lightning.users.base_types import base_types
from ppd_lightning.users.choice_features import in_blocks, on_axes
from ppd_lightning.users.describing import Describing
from ppd_lightning.users.discriminants import PrincipalAxes, describe_choices, discriminant_axes
from ppd_lightning.users.encoders import open_encoder
from ppd_lightning.users.scale import LEAST_PEOPLE
from ppd_lightning.users.shot_sets import DESCRIBING, ShotSet, random_sets

log = logging.getLogger(__name__)

IMAGE_COMPONENTS = 64
"""Principal components of an encoder's features that describe an image."""
BLOCK = 4096
"""Sets whose features are gathered at once."""


@dataclass(frozen=True)
class ImageFeatures:
    """Features (N, F) of images, by image id."""

    ids: pa.Array
    features: np.ndarray

    def rows(self, pairs: pa.Table, side: str) -> np.ndarray:
        """The row of that side's image of each pair in the features, (pairs,); -1 where it has none."""
        return np.asarray(pc.fill_null(pc.index_in(pairs[side].cast(pa.string()), value_set=self.ids), -1))


def on_principal_axes(using: Describing, encoder: str) -> tuple[ImageFeatures, PrincipalAxes]:
    """What an encoder sees of every image that people may be described by, on `IMAGE_COMPONENTS` principal axes.

    Raises:
        UserError: the encoder's weights are missing.
    """
    seen = encode_images(using.data, open_encoder(encoder, using.backbone))
    principal = PrincipalAxes.fitted(seen.features, IMAGE_COMPONENTS)
    return ImageFeatures(seen.ids, principal.components(seen.features)), principal


def encode_images(data: PreparedData, encode: Callable[[Tensor], Tensor]) -> ImageFeatures:
    """Features of every image that people may be described by: of none of the tests.

    Args:
        encode: images (B, 3, H, W) float in [0, 1] to features (B, F).
    """
    images, held_out = data.images_table(), data.captions(held_out=True)
    images = images.filter(pc.invert(pc.is_in(images["caption"], value_set=pa.array(held_out, pa.string()))))
    ids: list[str] = []
    parts: list[np.ndarray] = []
    for batch in data.read_images(images, [Square(data.image_size)]):
        if batch.ids:
            parts.append(in_blocks(encode, torch.from_numpy(batch.pixels[0]).float() / 255))
        ids += batch.ids
    return ImageFeatures(pa.array(ids, pa.string()), np.concatenate(parts))


def reward_features(scorer: Scorer, reward: str, pairs: pa.Table) -> ImageFeatures:
    """The stored features of every image of the pairs that describe people; an image that it cannot see has none.

    Args:
        reward: the name of one of the scorer's, by whose vision tower they are.

    Raises:
        UserError: its tower sees the caption too, so no features are stored.
    """
    describing = pairs.filter(pc.is_in(pairs["split"], pa.array(DESCRIBING)))
    sides = [describing[side].cast(pa.string()) for side in ("preferred", "dispreferred")]
    ids = pc.unique(pa.chunked_array([chunk for side in sides for chunk in side.chunks], pa.string()))
    features = scorer.features(reward, ids).reshape(len(ids), -1)
    seen = np.isfinite(features).all(1)
    return ImageFeatures(ids.filter(pa.array(seen)), features[seen])


def features_of_sets(
    using: Describing, pairs: pa.Table, sets: Sequence[ShotSet], images: ImageFeatures, axes: np.ndarray | None
) -> np.ndarray:
    """Vectors (R, E) float64 of sets of shots: `describe_choices` of their images, on `axes` (2 F, E) if there are any.

    Raises:
        UserError: an image of a shot has no features.
    """
    sides = [images.rows(pairs, side) for side in ("preferred", "dispreferred")]
    parts = []
    for begin in range(0, len(sets), BLOCK):
        block = sets[begin : begin + BLOCK]
        shots = np.array([one.pairs for one in block])
        preferred, dispreferred = (rows[shots] for rows in sides)
        _require_seen(using, pairs, shots[(preferred < 0) | (dispreferred < 0)])
        parts.append(on_axes(describe_choices(images.features[preferred], images.features[dispreferred]), axes))
    return np.concatenate(parts)


def axes_of_people(using: Describing, pairs: pa.Table, images: ImageFeatures, components: int) -> np.ndarray:
    """The directions (2 F, E) in which people differ (`people_learnt_of`), of random sets of their choices.

    Whichever sets are described, so a set has the same vector beside whichever others. P people differ in P - 1
    directions at most; so many are kept, with a warning, where `components` asks for more. How much the choices of one
    person vary is known from people with several different sets; there is a warning where nobody has them.

    Raises:
        UserError: they are fewer than `LEAST_PEOPLE`, or an image of a shot has no features.
    """
    learnt_of = using.people_learnt_of()
    trained = [one for one in random_sets(pairs, using.shots.n, using.shots.groupings) if one.user in learnt_of]
    people = np.unique([one.user for one in trained], return_inverse=True)[1]
    count = len(np.unique(people))
    if count < LEAST_PEOPLE:
        raise UserError(
            f"user.components: directions in which people differ need {LEAST_PEOPLE} people who are trained on, and "
            f"there are {count}; add choices of others, or use a kind that compares nobody, such as user=stated"
        )
    if components > count - 1:
        log.warning(
            "%d people differ in %d directions at most: embeddings have that width, not user.components=%d",
            count,
            count - 1,
            components,
        )
    if len({(one.user, frozenset(one.pairs)) for one in trained}) == count:
        log.warning(
            "nobody of %d people has two different sets of choices, so how much one person's choices vary is not known "
            "and directions are less certain; shots.groupings=2 and %d pairs a person (shots.n + 1) are needed",
            count,
            using.shots.n + 1,
        )
    vectors = features_of_sets(using, pairs, trained, images, None)
    return discriminant_axes(vectors, people, min(components, count - 1))


def differences_of_pairs(using: Describing, pairs: pa.Table, rows: np.ndarray, images: ImageFeatures) -> np.ndarray:
    """Features of the preferred image less those of the other, (N, F), of pairs by their rows (N,).

    Raises:
        UserError: an image has no features.
    """
    preferred, dispreferred = (images.rows(pairs, side)[rows] for side in ("preferred", "dispreferred"))
    _require_seen(using, pairs, rows[(preferred < 0) | (dispreferred < 0)])
    differences: np.ndarray = images.features[preferred] - images.features[dispreferred]
    return differences


def types_of_people(
    using: Describing, pairs: pa.Table, images: ImageFeatures, count: int, regularisation: float
) -> np.ndarray:
    """Utilities (F, K) of base types of people (`people_learnt_of`), of all pairs that describe them (`base_types`).

    Raises:
        UserError: they are fewer than `LEAST_PEOPLE`, or an image of a pair has no features.
    """
    describing = pc.is_in(pairs["split"], pa.array(DESCRIBING))
    theirs = pc.is_in(pairs["user_id"], pa.array(sorted(using.people_learnt_of()), pairs["user_id"].type))
    trained = np.flatnonzero(np.asarray(pc.and_(describing, theirs)))
    people = np.unique(pairs["user_id"].take(pa.array(trained)).to_pylist(), return_inverse=True)[1]
    found = len(np.unique(people))
    if found < LEAST_PEOPLE:
        raise UserError(
            f"user.types: types of people need {LEAST_PEOPLE} people who are trained on, and there are {found}; add "
            "choices of others, or use a kind that compares nobody, such as user=stated"
        )
    if count > found:
        log.warning("%d people make as many types at most: embeddings have that width, not user.types=%d", found, count)
    return base_types(differences_of_pairs(using, pairs, trained, images), people, count, regularisation)


def _require_seen(using: Describing, pairs: pa.Table, absent: np.ndarray) -> None:
    """Refuse pairs, by their rows, of which an image has no features."""
    if len(absent):
        pair = pairs.slice(int(absent[0]), 1).to_pylist()[0]
        raise UserError(
            f"{using.data.source.root}: an image of the pair {pair['pair_id']}, which describes "
            f"{pair['user_id']}, is missing, damaged or nothing that can be seen; mend the source or "
            "leave the pair out, and run `ppd prepare` again"
        )
