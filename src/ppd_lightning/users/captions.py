"""Captions as vectors that tell which are near to each other: the pooled states of the model's own text encoder.

D = width of a pooled state.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pyarrow as pa

from ppd_lightning.backbones.released import ReleasedModel
from ppd_lightning.config.schemas import Config
from ppd_lightning.data import prepared as layout
from ppd_lightning.data.pairs import caption_id
from ppd_lightning.users.shots import CaptionVectors


def caption_vectors(config: Config, model: ReleasedModel, further: Sequence[str] = ()) -> CaptionVectors:
    """The prepared captions, and `further` ones, which are encoded here.

    Raises:
        UserError: the text states are missing or stale.
    """
    store = layout.open_text(config, model.fingerprint("text_encoder"), model.fingerprint("tokenizer"))
    ids, pooled = store.ids, store.arrays["text_pooled"][:].astype(np.float32).reshape(len(store), -1)
    known = set(ids.to_pylist())
    new = {caption_id(caption): caption for caption in further if caption_id(caption) not in known}
    if new:
        _, states = model.load_text()(list(new.values()))
        pooled = np.concatenate([pooled, states.float().numpy().reshape(len(new), -1)])
        ids = pa.concat_arrays([ids, pa.array(list(new), pa.string())])
    return CaptionVectors(ids, pooled / np.linalg.norm(pooled, axis=1, keepdims=True))
