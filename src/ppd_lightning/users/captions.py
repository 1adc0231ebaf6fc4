"""Captions as vectors that tell which are near to each other: the pooled states of the model's own text encoder.

N = captions, D = width of a pooled state.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from ppd_lightning.data.pairs import caption_id

if TYPE_CHECKING:
    from torch import Tensor

    from ppd_lightning.backbones.backbone import Backbone
    from ppd_lightning.data.prepared import PreparedData


@dataclass(frozen=True)
class CaptionVectors:
    """Captions by id, with a vector of length 1 each, (captions, D) float32: near captions have near vectors."""

    ids: pa.Array
    vectors: np.ndarray

    def of(self, caption_ids: pa.Array | pa.ChunkedArray | Sequence[str]) -> np.ndarray:
        """The vectors of captions, (N, D); a caption that is unknown is a KeyError."""
        rows = pc.index_in(pa.array(caption_ids) if isinstance(caption_ids, list) else caption_ids, value_set=self.ids)
        if rows.null_count:
            raise KeyError("a caption has no vector")
        found: np.ndarray = self.vectors[np.asarray(rows)]
        return found


def caption_vectors(data: PreparedData, backbone: Backbone, further: Sequence[str] = ()) -> CaptionVectors:
    """The prepared captions, and `further` ones, which are encoded here.

    Raises:
        UserError: the text states are missing or stale.
    """
    store = data.open_text()
    ids = store.ids
    pooled = store.arrays[backbone.text_arrays[-1]][:].astype(np.float32).reshape(len(store), -1)
    known = set(ids.to_pylist())
    new = {caption_id(caption): caption for caption in further if caption_id(caption) not in known}
    if new:
        pooled = np.concatenate([pooled, pooled_states(backbone, backbone.load_text("cpu")(list(new.values())))])
        ids = pa.concat_arrays([ids, pa.array(list(new), pa.string())])
    return CaptionVectors(ids, pooled / np.linalg.norm(pooled, axis=1, keepdims=True))


def pooled_states(backbone: Backbone, states: Mapping[str, Tensor]) -> np.ndarray:
    """The pooled states (N, D) float32 among a text encoder's states of N texts: the last of its arrays."""
    last = states[backbone.text_arrays[-1]]
    pooled: np.ndarray = last.flatten(1).float().cpu().numpy()
    return pooled
