"""What of a training's inputs is not finite: asked when a loss is not, so that it costs nothing otherwise."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

import numpy as np

from ppd_lightning.data.stores import StoredArray

if TYPE_CHECKING:
    from ppd_lightning.training.examples import Examples

MADE_BY = {"latents": "ppd prepare", "text states": "ppd prepare", "user embeddings": "ppd embed"}


def unsound_inputs(examples: Examples, pairs: Sequence[int]) -> list[str]:
    """A sentence for each store that holds something not finite of some pairs, with what to do.

    Args:
        pairs: stable ids; those that are no examples here are passed over.
    """
    rows = np.flatnonzero(np.isin(examples.pairs, np.asarray(pairs, np.int64)))
    faults = []
    for what, array, used in _inputs(examples, rows) if len(rows) else ():
        broken = [~np.isfinite(np.asarray(array[own], np.float32)).reshape(len(own), -1).all(1) for own in used]
        hurt = [row for row, found in zip(rows.tolist(), broken, strict=True) if found.any()]
        if not hurt:
            continue
        where = f"{array.folder}: " if isinstance(array, StoredArray) else ""
        pair = f"{int(examples.pairs[hurt[0]]) & 2**64 - 1:016x}"
        faults.append(
            f"{where}the {what} of {len(hurt)} pairs of this step hold NaN or infinity, such as those of {pair}; run "
            f"`ppd verify`, and where it finds nothing damaged, delete them and run `{MADE_BY[what]}` again"
        )
    return faults


def _inputs(examples: Examples, rows: np.ndarray) -> Iterator[tuple[str, np.ndarray | StoredArray, list[np.ndarray]]]:
    """Each input: its name, the array it lies in, and the rows of it that each pair may use."""
    yield "latents", examples.latents, list(np.stack([examples.preferred[rows], examples.dispreferred[rows]], 1))
    for array in (examples.text or {}).values():
        yield "text states", array, list(examples.caption[rows][:, None])
    counts = examples.usable_groupings[rows].tolist()
    yield (
        "user embeddings",
        examples.users,
        [own[:count] for own, count in zip(examples.user_rows[rows], counts, strict=True)],
    )
