"""The pairs table: who preferred which image to which, for which caption, and which split it belongs to."""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from ppd_lightning.data.splits import SPLITS, assign_splits, check_no_leak, hash_fraction, shares_test_image
from ppd_lightning.data.tables import read_table, write_table
from ppd_lightning.run.errors import UserError

PAIRS_SCHEMA = pa.schema(
    {
        name: pa.string()
        for name in ("pair_id", "user_id", "caption_id", "caption", "preferred", "dispreferred", "split")
    }
)


def caption_id(caption: str) -> str:
    """16 hex digits that stand for a caption."""
    return hashlib.blake2b(caption.encode(), digest_size=8).hexdigest()


def stable_ids(pair_ids: Sequence[str] | pa.Array | pa.ChunkedArray) -> np.ndarray:
    """Pair ids (16 hex digits) as (N,) int64 that fit a tensor."""
    listed = pair_ids.to_pylist() if isinstance(pair_ids, pa.Array | pa.ChunkedArray) else pair_ids
    return np.array([int(pair, 16) for pair in listed], np.uint64).view(np.int64)


def pairs_of_people(
    rows: pa.Table, *, held_out: Collection[str], unseen: Collection[str], validation: float
) -> tuple[pa.Table, dict[str, int]]:
    """People's own choices.

    Args:
        rows: `pickapic.Rows.table`; ties are left out.

    Returns:
        the pairs and how many were left out: ties, and those that show an image of the tests.
    """
    decided = rows.filter(pc.not_equal(rows["label_0"], 0.5))
    first = pc.equal(decided["label_0"], 1.0)
    table, counts = _split(decided, decided["user_id"], first, held_out, unseen, validation)
    return table, {"ties": len(rows) - len(decided), **counts}


def pairs_of_scores(
    rows: pa.Table,
    scores: Mapping[str, np.ndarray],
    image_rows: tuple[np.ndarray, np.ndarray],
    *,
    held_out: Collection[str],
    validation: float,
) -> tuple[pa.Table, dict[str, int]]:
    """The same image pairs relabelled: each by one score, drawn by hash of the pair, which becomes its user.

    Args:
        rows: `pickapic.Rows.table`; people's ties can be used too, ties of a score are left out.
        scores: of each image, (N,), higher is preferred; the names are the users.
        image_rows: where image_0 and image_1 of each of the rows are in the scores.

    Returns:
        the pairs and how many were left out, as `pairs_of_people` does.
    """
    names = list(scores)
    drawn = np.array([int(hash_fraction("score", pair) * len(names)) for pair in rows["pair_id"].to_pylist()])
    stacked = np.stack([scores[name] for name in names])
    lead = stacked[drawn, image_rows[0]] - stacked[drawn, image_rows[1]]
    decided = lead != 0
    users = pa.array(np.array(names)[drawn[decided]], pa.string())
    kept = rows.filter(pa.array(decided))
    table, counts = _split(kept, users, pa.array(lead[decided] > 0), held_out, frozenset(), validation)
    return table, {"ties": len(rows) - len(kept), **counts}


def write_pairs(path: Path, table: pa.Table, key: Mapping[str, str]) -> None:
    """Write a pairs table after checking it, with what it was made from."""
    check_no_leak(table, str(path))
    write_table(path, table.cast(PAIRS_SCHEMA), key)


def load_pairs(path: Path, split: str | None = None, key: Mapping[str, str] | None = None) -> pa.Table:
    """A pairs table, or one split of it, in the order of the pair ids.

    Args:
        key: what the table must have been made from; None takes it as it is.

    Raises:
        UserError: the table is missing, damaged, stale or leaks, or the split is empty.
    """
    if split is not None and split not in SPLITS:
        raise ValueError(f"no split {split!r}; the splits are {', '.join(SPLITS)}")
    table = read_table(path, PAIRS_SCHEMA, key)
    check_no_leak(table, str(path))
    if split is not None:
        table = table.filter(pc.equal(table["split"], split))
        if not len(table):
            raise UserError(f"{path}: the split {split} is empty; use more pairs, or other shares in data.*")
    return table.sort_by("pair_id")


def _split(
    rows: pa.Table,
    users: pa.Array | pa.ChunkedArray,
    first: pa.Array | pa.ChunkedArray,
    held_out: Collection[str],
    unseen: Collection[str],
    validation: float,
) -> tuple[pa.Table, dict[str, int]]:
    captions = rows["caption"].to_pylist()
    splits = assign_splits(
        rows["pair_id"].to_pylist(),
        users.to_pylist(),
        captions,
        held_out=held_out,
        unseen=unseen,
        validation=validation,
    )
    table = pa.table(
        {
            "pair_id": rows["pair_id"],
            "user_id": users,
            "caption_id": pa.array([caption_id(caption) for caption in captions], pa.string()),
            "caption": rows["caption"],
            "preferred": pc.if_else(first, rows["image_0"], rows["image_1"]),
            "dispreferred": pc.if_else(first, rows["image_1"], rows["image_0"]),
            "split": pa.array(splits, pa.string()),
        }
    )
    table = table.sort_by("pair_id")
    leaks = shares_test_image(table)
    kept = table.filter(pc.invert(leaks))
    return kept, {"image_of_tests": len(table) - len(kept)}
