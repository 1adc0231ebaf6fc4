"""The tensors of pairs, gathered from the stores.

B = pairs in a batch, N = pairs, R = rows of user embeddings, E = their width.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence

import numpy as np
import pyarrow as pa
import torch
from torch import Tensor

from ppd_lightning.data.pairs import stable_ids
from ppd_lightning.data.stores import Store, StoredArray
from ppd_lightning.diffusion.draws import choose
from ppd_lightning.training.caption_states import CaptionNumbers
from ppd_lightning.training.groupings import EachItsOwn, Groupings
from ppd_lightning.training.noisy_latents import Batch
from ppd_lightning.training.other_users import OtherUsers

EXAMPLE_COLUMNS = ["pair_id", "user_id", "caption_id", "preferred", "dispreferred", "split"]


class Examples:
    """Pairs with the rows of the stores that they need.

    Args:
        table: rows of `pairs.PAIRS_SCHEMA`, in the order of the pair ids, of which the caption is not needed.
        users: the embeddings (R, E) whose rows `groupings` knows.
        text: the text store, or the numbers of captions, which go into a batch then.
        text_arrays: arrays of the text store that go into a batch.

    Attributes:
        reference: gives the stored errors (B, 2) of the reference for pair ids and epochs, (B,) each; None where they
            are not stored.
        others: draws other people for pairs; None where nobody asks for them.
        left_out: pairs that `part` left out.
    """

    def __init__(
        self,
        table: pa.Table,
        latents: Store,
        text: Store | CaptionNumbers,
        users: np.ndarray | StoredArray,
        groupings: Groupings | EachItsOwn,
        seed: int,
        *,
        text_arrays: Sequence[str] = ("text", "text_pooled"),
    ) -> None:
        self.users, self.seed = users, seed
        self.latents = latents.arrays["latents"]
        self.text = {name: text.arrays[name] for name in text_arrays} if isinstance(text, Store) else None
        self.reference: Callable[[np.ndarray, np.ndarray], np.ndarray] | None = None
        self.others: OtherUsers | None = None
        self.left_out = 0
        self.pairs = stable_ids(table["pair_id"])
        self.user_rows, self.usable_groupings = groupings.rows_for(table)
        images = pa.chunked_array([*table["preferred"].chunks, *table["dispreferred"].chunks], pa.string())
        self.preferred, self.dispreferred = latents.index(images).reshape(2, -1)
        self.caption = text.index(table["caption_id"])

    def part(self, chosen: np.ndarray, *, described: bool = True) -> Examples:
        """Those of `chosen`, (N,) bool, that a grouping of their user may describe; `left_out` counts the others.

        With `described` off, all of them, which then have no users.
        """
        kept = chosen & (self.usable_groupings > 0) if described else chosen
        part = copy.copy(self)
        part.left_out = int(chosen.sum() - kept.sum())
        part.pairs, part.caption = self.pairs[kept], self.caption[kept]
        part.user_rows, part.usable_groupings = self.user_rows[kept], self.usable_groupings[kept]
        part.preferred, part.dispreferred = self.preferred[kept], self.dispreferred[kept]
        return part

    def __len__(self) -> int:
        return len(self.pairs)

    def batch(self, rows: np.ndarray, epochs: np.ndarray) -> Batch:
        """Gather the examples `rows` (B,) as they are in `epochs` (B,)."""
        batch = self.without_user(rows, epochs) | {"user": self._of_users(rows, epochs)}
        if self.others is not None:
            others = self.others.rows(rows, epochs)
            users = self._of_users(others.ravel(), epochs.repeat(self.others.count))
            batch["others"] = users.view(*others.shape, users.shape[1])  # also of no pair
        if self.reference is not None:
            batch["reference"] = torch.from_numpy(self.reference(self.pairs[rows], epochs))
        return batch

    def without_user(self, rows: np.ndarray, epochs: np.ndarray) -> Batch:
        """The same without user and reference."""
        return {
            "pair": torch.from_numpy(self.pairs[rows]),
            "epoch": torch.from_numpy(epochs),
            "latents_preferred": _gather(self.latents, self.preferred[rows]),
            "latents_dispreferred": _gather(self.latents, self.dispreferred[rows]),
            **self._of_captions(self.caption[rows]),
        }

    def _of_users(self, rows: np.ndarray, epochs: np.ndarray) -> Tensor:
        """The user embedding of each example, (B, E): of a grouping that is drawn."""
        drawn = [
            choose("grouping", self.seed, epoch, pair, count)
            for epoch, pair, count in zip(
                epochs.tolist(), self.pairs[rows].tolist(), self.usable_groupings[rows].tolist(), strict=True
            )
        ]
        return _gather(self.users, self.user_rows[rows, np.array(drawn, np.int64)])

    def _of_captions(self, rows: np.ndarray) -> Batch:
        """The text states of some rows of the store, or where there is none their numbers."""
        if self.text is None:
            return {"caption": torch.from_numpy(rows)}
        return {name: _gather(array, rows) for name, array in self.text.items()}


def _gather(array: np.ndarray | StoredArray, rows: np.ndarray) -> Tensor:
    """Copies of some rows of an array, as a float32 tensor."""
    return torch.from_numpy(array[rows]).float()
