"""`ppd embed`: who the users are, as vectors."""

from __future__ import annotations

import logging
import time
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import torch

from ppd_lightning.config.schemas import Config
from ppd_lightning.data import layout
from ppd_lightning.data.images import Square, read_images
from ppd_lightning.data.pairs import stable_ids
from ppd_lightning.data.stores import Store, write_store
from ppd_lightning.models.released import ReleasedModel, open_model
from ppd_lightning.run.errors import UserError
from ppd_lightning.users.embeddings import embeddings_folder, embeddings_key, open_user_rows
from ppd_lightning.users.encoders import open_encoder
from ppd_lightning.users.features import describe_choices, discriminant_axes, principal_components, standardise
from ppd_lightning.users.shots import choose_shots

log = logging.getLogger(__name__)

IMAGE_COMPONENTS = 64
"""Principal components of the encoder's features that describe an image."""


def run(config: Config) -> dict[str, Any]:
    """Describe every user of the pairs; a store that is there already and still right is kept.

    Returns:
        the summary: users, rows, width and seconds.

    Raises:
        UserError: the data are not prepared, or people have too few choices.
    """
    begun = time.monotonic()
    model = open_model(config.model)
    if config.user.kind == "features" and not _finished(config, model):
        _embed_features(config, model)
    rows = open_user_rows(config, model)
    users, (count, width) = len(set(rows.users)), rows.embeddings.shape
    summary = {"kind": config.user.kind, "users": users, "rows": count, "width": width}
    summary["seconds"] = round(time.monotonic() - begun, 1)
    log.info("%d users in %d embeddings of width %d", users, count, width)
    return summary


def _finished(config: Config, model: ReleasedModel) -> bool:
    try:
        Store.open(embeddings_folder(config), embeddings_key(config, model))
    except UserError:
        return False
    return True


def _embed_features(config: Config, model: ReleasedModel) -> None:
    pairs = layout.read_pairs(config)
    groupings = choose_shots(pairs, config.user.shots, config.user.groupings)
    users = sorted(groupings)
    pair_row = {pair: row for row, pair in enumerate(pairs["pair_id"].to_pylist())}
    rows = np.array([[[pair_row[pair] for pair in shots] for shots in groupings[user]] for user in users])  # (U, G, S)

    image_ids, components = _image_components(config, model, layout.captions_of(config, held_out=True))
    image_row = {image: row for row, image in enumerate(image_ids)}
    preferred, dispreferred = (
        np.array([image_row.get(image, -1) for image in pairs[side].to_pylist()])[rows]
        for side in ("preferred", "dispreferred")
    )
    vectors = describe_choices(components, preferred, dispreferred)  # (U, G, F)
    seen = np.isin(users, layout.people_of(config)["seen"])
    axes = discriminant_axes(vectors[seen], config.user.components)
    embedding = standardise(vectors @ axes, (vectors[seen] @ axes).reshape(-1, axes.shape[1]))
    write_store(
        embeddings_folder(config),
        [f"{user}/{grouping}" for user in users for grouping in range(config.user.groupings)],
        {
            "embedding": embedding.reshape(-1, axes.shape[1]),
            "shots": stable_ids(pairs["pair_id"])[rows].reshape(-1, config.user.shots),
        },
        embeddings_key(config, model),
    )


def _image_components(config: Config, model: ReleasedModel, held_out: list[str]) -> tuple[list[str], np.ndarray]:
    """Image ids and principal components of the images that people may be described by: not those of the tests."""
    encode = open_encoder(config.user.encoder, model)
    images = layout.read_images_table(config)
    images = images.filter(pc.invert(pc.is_in(images["caption"], value_set=pa.array(held_out, pa.string()))))
    ids: list[str] = []
    features: list[np.ndarray] = []
    for batch in read_images(layout.source_folder(config), images, [Square(config.data.image_size)]):
        if batch.ids:
            features.append(encode(torch.from_numpy(batch.pixels[0]).float() / 255).numpy())
        ids += batch.ids
    return ids, principal_components(np.concatenate(features), IMAGE_COMPONENTS)
