"""The usable rows of files in Pick-a-Pic v2's schema, the others counted by what is wrong with them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import reduce
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from ppd_lightning.data.pair_ids import pair_id
from ppd_lightning.data.parquet_files import FILES
from ppd_lightning.data.pickapic import AT_ONCE, READ, SCHEMA, location_of, open_parquet, read_group, source_files
from ppd_lightning.errors import UserError
from ppd_lightning.settings.plain_text import plain_text, user_name

NO_ROWS = pa.schema(
    {name: pa.string() if name == "user_id" else SCHEMA.field(name).type for name in READ}
    | {"file": pa.string(), "row_group": pa.int64(), "row": pa.int64()}
).empty_table()
"""What is read of a file, and where it was."""

UNUSABLE_SCHEMA = pa.schema({"file": pa.string(), "row_group": pa.int64(), "row": pa.int64(), "reason": pa.string()})
"""A row that is damaged, by its place in the source; the reason is a word, or a sentence about an image of it."""


@dataclass(frozen=True)
class Rows:
    """The usable rows of a source.

    table: one row a pair, ties included, with the columns pair_id, user_id (strings), caption (both in their normal
        form, `plain_text`: what looks the same is one, here and wherever it is stored and encoded), image_0, image_1,
        model_0, model_1, label_0 (1: the first image was preferred, 0: the second, 0.5: a tie) and where it was read:
        file (the path from the root), row_group, row (in the group).
    counts: rows read and rows left out, by reason.
    unusable: of those left out, the ones that are damaged (`UNUSABLE_SCHEMA`).
    """

    table: pa.Table
    counts: dict[str, int]
    unusable: pa.Table


def read_rows(root: str | Path, files: str = FILES) -> Rows:
    """Every usable row of the source's files.

    Left out, and counted: rows without a label, with an empty or missing field, whose two images are one, whose labels
    are neither a choice nor a tie, and repetitions of a pair by the same user under the same ranking (all of them where
    they contradict each other). All but rows without a label and plain repetitions are listed as unusable.

    Args:
        files: which files below the root, a glob.

    Raises:
        UserError: a file or a row group is damaged, or no row is usable.
    """
    names = source_files(root, files)
    with ThreadPoolExecutor(AT_ONCE) as pool:
        parts = list(pool.map(lambda name: _file_rows(root, name), names))
    counts = {"rows": sum(part.counts["rows"] for part in parts)}
    counts |= {reason: sum(part.counts[reason] for part in parts) for reason in REASONS}
    table, repeated, contradictory = _without_repetitions(pa.concat_tables([part.table for part in parts]))
    counts |= {"repeated": repeated, "contradictory": len(contradictory)}
    counts["ties"] = pc.sum(pc.equal(table["label_0"], 0.5)).as_py() or 0
    if not len(table):
        reasons = ", ".join(f"{reason} {count}" for reason, count in counts.items() if count and reason != "rows")
        raise UserError(f"{root}: none of its {counts['rows']} rows can be used ({reasons or 'there are none'})")
    unusable = pa.concat_tables([*(part.unusable for part in parts), unusable_rows(contradictory, "contradictory")])
    return Rows(table, counts, unusable)


def count_captions(root: str | Path, files: str = FILES) -> int | None:
    """The different captions of all rows; None where the files are not on this machine, for all captions are read.

    Raises:
        UserError: a file or a row group is damaged.
    """
    if not location_of(root).is_local:
        return None
    found: set[str] = set()
    for name in source_files(root, files):
        file = open_parquet(root, name, ("caption",))
        for group in range(file.num_row_groups):
            found.update(pc.unique(read_group(file, f"{root}/{name}", group, ("caption",))["caption"]).to_pylist())
    return len(found)


def _file_rows(root: str | Path, name: str) -> Rows:
    """The usable rows of a file; which of them are repeated is not looked at."""
    file, path = open_parquet(root, name, (*READ, "jpg_0", "jpg_1")), f"{location_of(root).url}/{name}"
    groups = [NO_ROWS]
    for group in range(file.num_row_groups):
        table = read_group(file, path, group, READ)
        count = len(table)
        place = [pa.repeat(name, count), pa.array(np.full(count, group)), pa.array(np.arange(count))]
        groups.append(pa.table([*table.columns, *place], names=NO_ROWS.column_names))
    table = pa.concat_tables(groups)
    for column, normal in (("caption", plain_text), ("user_id", _name_or_none)):
        table = table.set_column(table.column_names.index(column), column, _in_form(table[column], normal))
    counts, unusable = {"rows": len(table)}, []
    for reason, is_usable in REASONS.items():
        usable = pc.fill_null(is_usable(table), False)
        left_out, table = table.filter(pc.invert(usable)), table.filter(usable)
        counts[reason] = len(left_out)
        if reason != "without_label":
            unusable.append(unusable_rows(left_out, reason))
    return Rows(_named(table), counts, pa.concat_tables(unusable))


def _in_form(column: pa.ChunkedArray, normal: Callable[[str], str | None]) -> pa.ChunkedArray:
    """A column of text with each text in a normal form."""
    coded = column.combine_chunks().dictionary_encode()
    texts = coded.dictionary.to_pylist()
    formed = [normal(text) for text in texts]
    return column if formed == texts else pa.chunked_array([pa.array(formed, pa.string()).take(coded.indices)])


def _name_or_none(user: str) -> str | None:
    try:
        return user_name(user)
    except ValueError:
        return None


def _filled(*names: str) -> Callable[[pa.Table], pa.ChunkedArray]:
    """Whether all these columns hold text other than spaces."""

    def filled(table: pa.Table) -> pa.ChunkedArray:
        return reduce(pc.and_, [pc.greater(pc.utf8_length(pc.utf8_trim_whitespace(table[name])), 0) for name in names])

    return filled


def _clear(table: pa.Table) -> pa.ChunkedArray:
    known = pc.is_in(table["label_0"], value_set=pa.array([0.0, 0.5, 1.0]))
    return pc.and_(known, pc.equal(pc.add(table["label_0"], table["label_1"]), 1.0))


REASONS: dict[str, Callable[[pa.Table], pa.ChunkedArray]] = {
    "without_label": lambda table: table["has_label"],
    "empty_caption": _filled("caption"),
    "no_user": _filled("user_id"),
    "no_ranking": lambda table: pc.is_valid(table["ranking_id"]),
    "no_image": _filled("image_0_uid", "image_1_uid"),
    "same_image": lambda table: pc.not_equal(table["image_0_uid"], table["image_1_uid"]),
    "unclear_label": _clear,
}
"""Why a row is left out, and what tells a usable one."""


def unusable_rows(rows: pa.Table, reason: str | Sequence[str]) -> pa.Table:
    """Rows in the table of unusable ones, with one reason or one each."""
    places = [rows[name] for name in ("file", "row_group", "row")]
    reasons = pa.repeat(reason, len(rows)) if isinstance(reason, str) else pa.array(reason, pa.string())
    return pa.table([*places, reasons], schema=UNUSABLE_SCHEMA)


def _named(table: pa.Table) -> pa.Table:
    """The columns of `Rows`, with pair ids."""
    columns = [table[name].to_pylist() for name in ("user_id", "ranking_id", "caption", "image_0_uid", "image_1_uid")]
    pairs = pa.array([pair_id(*row) for row in zip(*columns, strict=True)], pa.string())
    kept = {"pair_id": pairs, "user_id": table["user_id"], "caption": table["caption"]}
    kept |= {"image_0": table["image_0_uid"], "image_1": table["image_1_uid"]}
    kept |= {name: table[name] for name in ("model_0", "model_1", "label_0", "file", "row_group", "row")}
    return pa.table(kept)


def _without_repetitions(table: pa.Table) -> tuple[pa.Table, int, pa.Table]:
    """The first row of every pair with one label; how many repeat it; the rows that contradict each other."""
    counted = pc.value_counts(table["pair_id"])
    several = counted.field("values").filter(pc.greater(counted.field("counts"), 1))
    if not len(several):
        return table, 0, table.slice(0, 0)
    again = pc.is_in(table["pair_id"], value_set=several)
    rows = pc.indices_nonzero(again).to_pylist()
    first: dict[str, int] = {}
    chosen: dict[str, set[str]] = {}
    of_pair: dict[str, list[int]] = {}
    for row, values in zip(rows, table.filter(again).to_pylist(), strict=True):
        pair, label = values["pair_id"], values["label_0"]
        first.setdefault(pair, row)
        of_pair.setdefault(pair, []).append(row)
        chosen.setdefault(pair, set()).add("" if label == 0.5 else values["image_0" if label == 1.0 else "image_1"])
    wrong = sorted(row for pair, own in of_pair.items() if len(chosen[pair]) > 1 for row in own)
    kept = pc.invert(again).to_numpy()
    kept[[row for pair, row in first.items() if len(chosen[pair]) == 1]] = True
    return table.filter(pa.array(kept)), int((~kept).sum()) - len(wrong), table.take(pa.array(wrong, pa.int64()))
