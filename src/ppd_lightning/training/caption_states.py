"""What a step reads of its captions where no text store is kept: a frozen encoder is asked for their states.

B = pairs in a batch, N = captions.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import torch
from torch import Tensor

from ppd_lightning.backbones.ahead import copied_ahead
from ppd_lightning.data.stores import Store
from ppd_lightning.errors import UserError

if TYPE_CHECKING:
    from ppd_lightning.backbones.interfaces import TextEncoder
    from ppd_lightning.data.prepared import PreparedData

AT_ONCE = 32
"""Captions that are encoded together: a large encoder beside the network leaves no room for many."""


@dataclass(frozen=True)
class CaptionNumbers:
    """The captions of prepared data by number, for batches that hold no text states.

    ids: N strings, in the order of the captions table.
    """

    ids: pa.Array

    def index(self, ids: pa.Array | pa.ChunkedArray) -> np.ndarray:
        """The row of each id in the captions table, (len(ids),) int64.

        Raises:
            UserError: an id has no row.
        """
        rows = pc.index_in(ids, value_set=self.ids)
        if rows.null_count:
            raise UserError("the captions table lacks captions of the pairs; run `ppd prepare` with the same settings")
        return np.asarray(rows).astype(np.int64)


class CaptionStates:
    """Puts the text states of a batch's captions into it, each distinct caption encoded once.

    They are float32 as those of a text store, computed in the encoder's own precision, without a gradient. A store in
    fp16 rounds them; one in fp32 holds the same numbers up to how the batch's size rounds in the encoder.

    Args:
        captions: N texts, by the numbers that batches hold.
        encode: the frozen text encoder.
    """

    def __init__(self, captions: pa.ChunkedArray, encode: TextEncoder) -> None:
        self.captions, self.encode = captions, encode

    @torch.no_grad()
    def __call__(self, batch: dict[str, Tensor]) -> dict[str, Tensor]:
        """The batch with the encoder's arrays (B, ...) float32, on its device, in place of `caption` (B,) int64.

        Where `caption` lies on the CPU, nothing waits for the device.
        """
        device = batch["pair"].device
        numbers, row_of = batch["caption"].cpu().unique(return_inverse=True)
        captions: list[str] = self.captions.take(pa.array(numbers.numpy())).to_pylist()
        with torch.autocast(device.type, enabled=False):
            parts = [self.encode(captions[at : at + AT_ONCE]) for at in range(0, len(captions), AT_ONCE)]
        row_of = copied_ahead(row_of, device)
        states = {name: torch.cat([part[name] for part in parts]).float().to(device) for name in parts[0]}
        others = {name: value for name, value in batch.items() if name != "caption"}
        return others | {name: values[row_of] for name, values in states.items()}


def open_captions(data: PreparedData) -> Store | CaptionNumbers:
    """The text store, or the numbers of the captions where none is kept.

    Raises:
        UserError: the store or the captions table is missing, damaged or stale.
    """
    if data.stores_text:
        return data.open_text()
    return CaptionNumbers(data.captions_table()["caption_id"].combine_chunks())


def caption_states(data: PreparedData, load: Callable[[], TextEncoder]) -> CaptionStates | None:
    """What puts text states into batches that hold none; None where they come from the store.

    Args:
        load: gives the frozen text encoder; called only where it is needed.

    Raises:
        UserError: the captions table is missing or damaged, or files of the text encoder are.
    """
    return None if data.stores_text else CaptionStates(data.captions_table()["caption"], load())
