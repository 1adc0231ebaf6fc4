"""One pass over a source's captions, into a store of text states; units as in `encoding`."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from ppd_lightning.data.encoding import in_own_order
from ppd_lightning.data.prepared import PreparedData
from ppd_lightning.data.shards import finished_units, is_finished, write_shard
from ppd_lightning.data.stores import finish_store
from ppd_lightning.errors import UserError
from ppd_lightning.progress import Counted

CAPTION_UNIT = 256
"""Captions that are encoded and stored together; their states are large."""


def encode_captions(
    data: PreparedData, load: Callable[[], Callable[[list[str]], dict[str, np.ndarray]]], *, progress: bool = True
) -> None:
    """Write the store of text states, unless it is there and was made from the same.

    Args:
        load: gives the function from captions to arrays with a row each; called if there is work.
    """
    folder, key = data.folder / "text", data.text_key()
    try:
        data.open_text()
        return
    except UserError:
        pass  # missing, damaged or stale: made anew
    table = data.captions_table()
    units = {f"{begin:06}": table.slice(begin, CAPTION_UNIT) for begin in range(0, len(table), CAPTION_UNIT)}
    missing = in_own_order(units.keys() - finished_units(folder, key))
    done = len(table) - sum(len(units[unit]) for unit in missing)
    if missing:
        encode = load()
        with Counted("captions", len(table), done=done, bar=progress) as counted:
            for unit in missing:
                if not is_finished(folder, unit, key):
                    captions = units[unit]["caption"].to_pylist()
                    states = encode(captions)
                    write_shard(folder, unit, units[unit]["caption_id"].to_pylist(), states, key, finite=states)
                counted.add(len(units[unit]))
    finish_store(folder, list(units), key, key)
