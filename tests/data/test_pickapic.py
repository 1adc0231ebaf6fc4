"""Pick-a-Pic v2's files are read exactly; what cannot be used is counted, what is damaged is named."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from tests.data.handmade import flip_byte, row, rows, write

from ppd_lightning.data.pickapic import SCHEMA, read_rows, source_fingerprint
from ppd_lightning.run.errors import UserError

# Written down from the data set card, not from the code.
CARD = {
    "are_different": "bool",
    "best_image_uid": "string",
    "caption": "string",
    "created_at": "timestamp[ns]",
    "has_label": "bool",
    "image_0_uid": "string",
    "image_0_url": "string",
    "image_1_uid": "string",
    "image_1_url": "string",
    "jpg_0": "binary",
    "jpg_1": "binary",
    "label_0": "double",
    "label_1": "double",
    "model_0": "string",
    "model_1": "string",
    "ranking_id": "int64",
    "user_id": "int64",
    "num_example_per_prompt": "int64",
    "__index_level_0__": "int64",
}


def test_the_schema_is_the_published_one() -> None:
    assert {field.name: str(field.type) for field in SCHEMA} == CARD


def test_every_row_comes_back_with_its_place(tmp_path: Path) -> None:
    made = rows()
    write(tmp_path, made[:70], name="b.parquet")
    write(tmp_path, made[70:], name="a.parquet")
    read = read_rows(tmp_path)
    assert read.counts["rows"] == len(read.table) == len(made)
    assert sum(read.counts.values()) == len(made)
    by_place = {(r["file"], r["row_group"], r["row"]): r for r in read.table.to_pylist()}
    for number, expected in enumerate(made):
        file, place = ("b.parquet", number) if number < 70 else ("a.parquet", number - 70)
        found = by_place[file, place // 50, place % 50]
        assert found["user_id"] == str(expected["user_id"])
        assert found["caption"] == expected["caption"]
        assert (found["image_0"], found["image_1"]) == (expected["image_0_uid"], expected["image_1_uid"])
        assert found["label_0"] == 1.0
        assert re.fullmatch("[0-9a-f]{16}", found["pair_id"])
    assert len(set(read.table["pair_id"].to_pylist())) == len(made)


def test_a_pair_keeps_its_id_when_its_images_change_sides(tmp_path: Path) -> None:
    one = row(1, user=1, caption="cat", styles=("flat", "round"))
    other = row(1, user=1, caption="cat", styles=("round", "flat"), label_0=0.0, label_1=1.0)
    write(tmp_path / "one", [one])
    write(tmp_path / "other", [other])
    ids = [read_rows(tmp_path / name).table["pair_id"][0].as_py() for name in ("one", "other")]
    assert ids[0] == ids[1]


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"has_label": False}, "without_label"),
        ({"has_label": None}, "without_label"),
        ({"caption": None}, "incomplete"),
        ({"caption": "  "}, "incomplete"),
        ({"user_id": None}, "incomplete"),
        ({"ranking_id": None}, "incomplete"),
        ({"image_0_uid": ""}, "incomplete"),
        ({"image_1_uid": None}, "incomplete"),
        ({"image_1_uid": "cat/flat"}, "same_image"),
        ({"label_0": None}, "unclear_label"),
        ({"label_0": 0.7, "label_1": 0.3}, "unclear_label"),
        ({"label_0": 1.0, "label_1": 1.0}, "unclear_label"),
    ],
)
def test_an_unusable_row_is_left_out_and_counted(tmp_path: Path, changes: dict[str, Any], reason: str) -> None:
    write(tmp_path, [row(1, user=1, caption="cat") | changes, row(2, user=1, caption="dog")])
    read = read_rows(tmp_path)
    assert read.table["caption"].to_pylist() == ["dog"]
    assert {name: count for name, count in read.counts.items() if count} == {"rows": 2, reason: 1}


def test_ties_are_kept_and_counted(tmp_path: Path) -> None:
    write(tmp_path, [row(1, user=1, caption="cat", label_0=0.5, label_1=0.5), row(2, user=1, caption="dog")])
    read = read_rows(tmp_path)
    assert read.table["label_0"].to_pylist() == [0.5, 1.0]
    assert read.counts["ties"] == 1


def test_repetitions_count_once_and_contradictions_not_at_all(tmp_path: Path) -> None:
    again = {"label_0": 0.0, "label_1": 1.0}
    made = [
        row(1, user=1, caption="cat"),
        row(1, user=1, caption="cat"),
        row(1, user=1, caption="cat", styles=("round", "flat"), **again),  # the same choice, sides changed
        row(2, user=1, caption="dog"),
        row(2, user=1, caption="dog", **again),
        row(3, user=2, caption="cat"),
    ]
    write(tmp_path, made)
    read = read_rows(tmp_path)
    assert [(r["user_id"], r["caption"]) for r in read.table.to_pylist()] == [("1", "cat"), ("2", "cat")]
    assert read.counts["repeated"] == 4


def test_nothing_usable_says_why(tmp_path: Path) -> None:
    write(tmp_path, [row(1, user=1, caption="cat", has_label=False)])
    with pytest.raises(UserError, match=r"none of its 1 rows can be used.*'without_label': 1"):
        read_rows(tmp_path)


def test_an_empty_file_beside_a_full_one_is_no_fault(tmp_path: Path) -> None:
    write(tmp_path, [], name="empty.parquet")
    write(tmp_path, [row(1, user=1, caption="cat")])
    assert len(read_rows(tmp_path).table) == 1


def test_a_missing_or_empty_folder_is_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"data\.root: there is no folder"):
        read_rows(tmp_path / "nowhere")
    with pytest.raises(UserError, match=r"data\.root: .* holds no \*\.parquet files"):
        read_rows(tmp_path)


def test_a_truncated_file_is_named(tmp_path: Path) -> None:
    path = write(tmp_path, rows())
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(UserError, match=re.escape(f"{path}: damaged or no parquet file")):
        read_rows(tmp_path)


def test_a_file_of_something_else_is_named(tmp_path: Path) -> None:
    (tmp_path / "x.parquet").write_text("<html>not found</html>")
    with pytest.raises(UserError, match=r"x\.parquet: damaged or no parquet file"):
        read_rows(tmp_path)


def test_a_flipped_byte_names_file_and_row_group(tmp_path: Path) -> None:
    path = write(tmp_path, rows())
    captions = pq.ParquetFile(path).metadata.row_group(1).column(SCHEMA.get_field_index("caption"))
    flip_byte(path, captions.dictionary_page_offset + captions.total_compressed_size // 2)
    with pytest.raises(UserError, match=re.escape(f"{path}: row group 1 is damaged")):
        read_rows(tmp_path)


def test_missing_columns_are_all_named(tmp_path: Path) -> None:
    path = write(tmp_path, rows())
    pq.write_table(pq.read_table(path).drop_columns(["jpg_0", "caption"]), path)
    with pytest.raises(UserError, match="lacks the columns caption, jpg_0"):
        read_rows(tmp_path)


def test_a_column_of_another_type_is_named(tmp_path: Path) -> None:
    path = write(tmp_path, rows())
    table = pq.read_table(path)
    users = pa.array([f"user {number}" for number in range(len(table))])
    pq.write_table(table.set_column(table.column_names.index("user_id"), "user_id", users), path)
    with pytest.raises(UserError, match="row group 0: the column user_id holds string, expected int64"):
        read_rows(tmp_path)


def test_wider_types_of_other_writers_are_read(tmp_path: Path) -> None:
    path = write(tmp_path, rows())
    table = pq.read_table(path)
    types = {"user_id": pa.int32(), "created_at": pa.timestamp("us"), "caption": pa.large_string()}
    wide = pa.schema([(field.name, types.get(field.name, field.type)) for field in table.schema])
    expected = read_rows(tmp_path).table
    pq.write_table(table.cast(wide), path, row_group_size=50)
    assert read_rows(tmp_path).table.to_pylist() == expected.to_pylist()


def test_the_fingerprint_follows_names_and_content(tmp_path: Path) -> None:
    made = rows()
    path = write(tmp_path, made)
    first = source_fingerprint(tmp_path)
    write(tmp_path, made)
    assert source_fingerprint(tmp_path) == first
    path.rename(tmp_path / "other.parquet")
    assert source_fingerprint(tmp_path) != first
    (tmp_path / "other.parquet").rename(path)
    write(tmp_path, [*made[:-1], made[-1] | {"caption": "thing 99"}])
    assert source_fingerprint(tmp_path) != first
