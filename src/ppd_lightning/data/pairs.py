"""The pairs table: who preferred which image to which, for which caption, and which split it belongs to."""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from ppd_lightning.data.splits import SPLITS, assign_splits, check_no_leak, hash_fraction, shares_test_image
from ppd_lightning.data.tables import read_table, write_table
from ppd_lightning.errors import UserError
from ppd_lightning.settings.plain_text import plain_text

PAIRS_SCHEMA = pa.schema(
    {
        "pair_id": pa.string(),
        "user_id": pa.string(),
        "caption_id": pa.string(),
        "caption": pa.dictionary(pa.int32(), pa.string()),  # long, and the same in many pairs
        "preferred": pa.string(),
        "dispreferred": pa.string(),
        "split": pa.string(),
    }
)

REWARD_PAIRS_SCHEMA = PAIRS_SCHEMA.append(pa.field("margin", pa.float32()))
"""Of pairs that rewards labelled; margin is how much more of its score the preferred image has."""

DIGITS = 16
"""Of a pair id."""

VALUE_OF = np.full(256, 255, np.uint8)
"""Of a hex digit, by its ASCII code."""
VALUE_OF[list(b"0123456789abcdef")] = np.arange(16)


def caption_id(caption: str) -> str:
    """16 hex digits that stand for a caption; the same for all that look the same (`plain_text`)."""
    return hashlib.blake2b(plain_text(caption).encode(), digest_size=8).hexdigest()


def stable_ids(pair_ids: Sequence[str] | pa.Array | pa.ChunkedArray) -> np.ndarray:
    """Pair ids (16 hex digits) as (N,) int64 that fit a tensor.

    Raises:
        ValueError: one of them is something else.
    """
    ids = pair_ids.combine_chunks() if isinstance(pair_ids, pa.ChunkedArray) else pa.array(pair_ids, pa.string())
    fixed = ids.cast(pa.binary()).cast(pa.binary(DIGITS))
    letters = np.frombuffer(fixed.buffers()[1] or b"", np.uint8, len(fixed) * DIGITS, fixed.offset * DIGITS)
    digits = VALUE_OF[letters].reshape(-1, DIGITS)
    if (digits > 15).any():
        raise ValueError("a pair id must be 16 hex digits")
    return (digits[:, ::2] << 4 | digits[:, 1::2]).view(">u8")[:, 0].astype(np.uint64).view(np.int64)


def pairs_of_people(
    rows: pa.Table, *, held_out: Collection[str], unseen: Collection[str], validation: float, min_pairs: int
) -> tuple[pa.Table, dict[str, int]]:
    """People's own choices.

    Args:
        rows: `pickapic_rows.Rows.table`; ties are left out.
        min_pairs: what a person needs in train, so that any of these pairs can be described by others; for one who is
            never trained on, one less in shots (but one) is enough. People with fewer are left out, with their pairs.

    Returns:
        the pairs and how many were left out: ties, those of people with too few pairs and how many people that are, and
        those that show an image of the tests.
    """
    decided = rows.filter(pc.not_equal(rows["label_0"], 0.5))
    first = pc.equal(decided["label_0"], 1.0)
    table = _split(decided, decided["user_id"], first, held_out, unseen, validation)
    # Twice, because pairs that are left out for the tests' sake count no longer, and people who are, have no tests.
    described = _describable(table, min_pairs)
    apart, counts = _without_test_images(described)
    kept = _describable(apart, min_pairs)
    users = len(pc.unique(table["user_id"])) - len(pc.unique(kept["user_id"]))
    few = len(table) - len(described) + len(apart) - len(kept)
    return kept, {"ties": len(rows) - len(decided), "few_pairs": few, "users_with_few_pairs": users, **counts}


def pairs_of_rewards(
    rows: pa.Table, leads: Mapping[str, np.ndarray], *, held_out: Collection[str], validation: float
) -> tuple[pa.Table, dict[str, int]]:
    """The same image pairs relabelled: each by one reward, drawn by hash of the pair, which becomes its user.

    Every reward is drawn equally often, and one more reward takes its share of the pairs and leaves the others theirs.

    Args:
        rows: `pickapic_rows.Rows.table`; people's ties can be used too, ties of the reward that is drawn are left out.
        leads: by each reward, (len(rows),): how much more of its score image_0 has than image_1.

    Returns:
        the pairs (`REWARD_PAIRS_SCHEMA`) and how many were left out: ties, in all and of each reward, and those that
        show an image of the tests.
    """
    names = sorted(leads)
    pair_ids = rows["pair_id"].to_pylist()
    drawn = np.array([[hash_fraction(f"reward/{name}", pair) for name in names] for pair in pair_ids]).argmax(1)
    lead = np.stack([leads[name] for name in names])[drawn, np.arange(len(rows))]
    decided = lead != 0
    users = pa.array(np.array(names)[drawn[decided]], pa.string())
    margin = pa.array(np.abs(lead[decided]), pa.float32())
    kept = rows.filter(pa.array(decided))
    first = pa.array(lead[decided] > 0)
    table = _split(kept, users, first, held_out, frozenset(), validation, {"margin": margin})
    table, counts = _without_test_images(table)
    tied = np.bincount(drawn[~decided], minlength=len(names)).tolist()
    ties = {f"ties_of_{name}": count for name, count in zip(names, tied, strict=True)}
    return table, {"ties": len(rows) - len(kept), **ties, **counts}


def write_pairs(path: Path, table: pa.Table, key: Mapping[str, str], schema: pa.Schema = PAIRS_SCHEMA) -> None:
    """Write a pairs table in the order of the pair ids, after checking it, with what it was made from."""
    check_no_leak(table, str(path))
    table = table.cast(schema).sort_by("pair_id")
    # One dictionary for both images of a pair, so that a leak is a matter of comparing numbers whenever it is read.
    images = pa.chunked_array([*table["preferred"].chunks, *table["dispreferred"].chunks], pa.string())
    coded = images.combine_chunks().dictionary_encode()
    for begin, name in ((0, "preferred"), (len(table), "dispreferred")):
        table = table.set_column(table.column_names.index(name), name, coded.slice(begin, len(table)))
    write_table(path, table, key)


def load_pairs(
    path: Path,
    split: str | None = None,
    key: Mapping[str, str] | None = None,
    schema: pa.Schema = PAIRS_SCHEMA,
    *,
    made_by: str = "ppd prepare",
) -> pa.Table:
    """A pairs table, or one split of it, in the order of the pair ids.

    Args:
        key: what the table must have been made from; None takes it as it is.
        made_by: the command that makes such a table, for the messages.

    Raises:
        UserError: the table is missing, damaged, stale or leaks, or the split is empty.
    """
    if split is not None and split not in SPLITS:
        raise ValueError(f"no split {split!r}; the splits are {', '.join(SPLITS)}")
    table = read_table(path, schema, key, compact=True, made_by=made_by)
    check_no_leak(table, str(path))
    if split is not None:
        table = table.filter(pc.equal(table["split"], split))
        if not len(table):
            raise UserError(f"{path}: the split {split} is empty; use more pairs, or other shares in data.*")
    return table.cast(schema)


def _split(
    rows: pa.Table,
    users: pa.Array | pa.ChunkedArray,
    first: pa.Array | pa.ChunkedArray,
    held_out: Collection[str],
    unseen: Collection[str],
    validation: float,
    further: Mapping[str, pa.Array] = MappingProxyType({}),
) -> pa.Table:
    """The rows as pairs with their splits, in the order of the pair ids; `first` says that image_0 was preferred."""
    captions = pc.unique(rows["caption"]).sort()
    of_caption = pc.index_in(rows["caption"], value_set=captions).combine_chunks()
    ids = pa.array([caption_id(caption) for caption in captions.to_pylist()], pa.string())
    table = pa.table(
        {
            "pair_id": rows["pair_id"],
            "user_id": users,
            "caption_id": ids.take(of_caption),
            "caption": pa.DictionaryArray.from_arrays(of_caption, captions),
            "preferred": pc.if_else(first, rows["image_0"], rows["image_1"]),
            "dispreferred": pc.if_else(first, rows["image_1"], rows["image_0"]),
            "split": assign_splits(
                rows["pair_id"], users, rows["caption"], held_out=held_out, unseen=unseen, validation=validation
            ),
            **further,
        }
    )
    return table.sort_by("pair_id")


def _describable(table: pa.Table, min_pairs: int) -> pa.Table:
    """The pairs of those people who have enough of them to be described: in train, or one less in shots."""
    enough = []
    for split, needed in (("train", min_pairs), ("shots", max(1, min_pairs - 1))):
        counted = pc.value_counts(table["user_id"].filter(pc.equal(table["split"], split)))
        enough.append(counted.field("values").filter(pc.greater_equal(counted.field("counts"), needed)))
    return table.filter(pc.is_in(table["user_id"], value_set=pa.concat_arrays(enough)))


def _without_test_images(table: pa.Table) -> tuple[pa.Table, dict[str, int]]:
    """The pairs without those that share an image with the tests, and how many these are."""
    kept = table.filter(pc.invert(shares_test_image(table)))
    return kept, {"image_of_tests": len(table) - len(kept)}
