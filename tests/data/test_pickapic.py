"""Pick-a-Pic v2's files are read exactly; what cannot be used is counted, what is damaged is named."""

from __future__ import annotations

import re
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import fsspec
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from huggingface_hub import HfFileSystem
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.data.handmade import flip_byte, row, rows, write

from ppd_lightning.data.pickapic import SCHEMA, open_parquet, read_group, source_files, source_fingerprint
from ppd_lightning.data.pickapic_rows import read_rows
from ppd_lightning.errors import UserError

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
        ({"caption": None}, "empty_caption"),
        ({"caption": "  "}, "empty_caption"),
        ({"user_id": None}, "no_user"),
        ({"ranking_id": None}, "no_ranking"),
        ({"image_0_uid": ""}, "no_image"),
        ({"image_1_uid": None}, "no_image"),
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
    assert (read.counts["repeated"], read.counts["contradictory"]) == (2, 2)
    assert {(r["row"], r["reason"]) for r in read.unusable.to_pylist()} == {(3, "contradictory"), (4, "contradictory")}


@settings(max_examples=30, deadline=None)
@given(
    st.lists(st.tuples(st.integers(0, 11), st.sampled_from([0.0, 0.5, 1.0]), st.booleans()), min_size=1, max_size=30)
)
def test_order_sides_and_repetitions_of_rows_do_not_change_what_was_chosen(told: list[tuple[int, float, bool]]) -> None:
    """Each row tells a pair (three users, two captions, two rankings), maybe with its sides changed."""
    made: list[dict[str, Any]] = []
    expected: dict[tuple[str, str, int], set[float]] = {}
    for pair, label, turned in [*told, (12, 1.0, False)]:  # the last is always clear: something must be usable
        user, caption, ranking = pair % 3, pair // 3 % 2, pair // 6
        styles = ("round", "flat") if turned else ("flat", "round")
        labels = (1 - label, label) if turned else (label, 1 - label)
        choice = row(ranking, user=user, caption=f"猫 {caption}", styles=styles, jpg_0=b"", jpg_1=b"")
        made.append(choice | {"label_0": labels[0], "label_1": labels[1]})
        expected.setdefault((str(user), f"猫 {caption}", ranking), set()).add(label)
    for rows_of_file in (made, made[::-1]):
        with tempfile.TemporaryDirectory() as folder:
            write(Path(folder), rows_of_file, group=7)
            read = read_rows(folder)
        found = [
            (r["user_id"], r["caption"], r["label_0"] if r["image_0"].endswith("flat") else 1 - r["label_0"])
            for r in read.table.to_pylist()
        ]
        clear = [(user, caption, *labels) for (user, caption, _), labels in expected.items() if len(labels) == 1]
        assert sorted(found) == sorted(clear)
        contradicted = sum(len(expected[key]) > 1 for key in (_key(r) for r in made))
        assert read.counts["contradictory"] == len(read.unusable) == contradicted
        assert read.counts["repeated"] == len(made) - len(found) - contradicted


def _key(made: dict[str, Any]) -> tuple[str, str, int]:
    return str(made["user_id"]), made["caption"], made["ranking_id"]


def test_nothing_usable_says_why(tmp_path: Path) -> None:
    write(tmp_path, [row(1, user=1, caption="cat", has_label=False)])
    with pytest.raises(UserError, match=r"none of its 1 rows can be used.*without_label 1"):
        read_rows(tmp_path)


def test_an_empty_file_beside_a_full_one_is_no_fault(tmp_path: Path) -> None:
    write(tmp_path, [], name="empty.parquet")
    write(tmp_path, [row(1, user=1, caption="cat")])
    assert len(read_rows(tmp_path).table) == 1


def test_a_missing_or_empty_folder_is_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"data\.root: there is no folder"):
        read_rows(tmp_path / "nowhere")
    with pytest.raises(UserError, match=r"data\.root: .* holds no files \*\*/\*\.parquet"):
        read_rows(tmp_path)


@pytest.fixture
def memory() -> Iterator[Any]:
    """fsspec's file system in memory, as one that is not local."""
    system = fsspec.filesystem("memory")
    yield system
    system.rm("/", recursive=True)


def test_a_source_elsewhere_is_read_like_a_local_one(tmp_path: Path, memory: Any) -> None:
    made = rows()
    write(tmp_path / "data", made[:70], name="train-0.parquet")
    write(tmp_path / "data/deeper", made[70:], name="train-1.parquet")
    for path in tmp_path.rglob("*.parquet"):
        memory.pipe(f"/bucket/set/{path.relative_to(tmp_path)}", path.read_bytes())
    far, near = read_rows("memory://bucket/set"), read_rows(tmp_path)
    assert far.table.equals(near.table)
    assert far.counts == near.counts
    assert set(far.table["file"].to_pylist()) == {"data/train-0.parquet", "data/deeper/train-1.parquet"}
    assert source_fingerprint("memory://bucket/set/") == source_fingerprint(tmp_path)
    file = open_parquet("memory://bucket/set", "data/train-0.parquet", ("jpg_0",))
    assert read_group(file, "x", 1, ("jpg_0",))["jpg_0"][0].as_py() == made[50]["jpg_0"]


def test_damage_elsewhere_is_named(tmp_path: Path, memory: Any) -> None:
    data = write(tmp_path, rows()).read_bytes()
    memory.pipe("/set/a.parquet", data[: len(data) // 2])
    with pytest.raises(UserError, match=r"memory://set/a\.parquet: damaged or no parquet file"):
        read_rows("memory://set")
    with pytest.raises(UserError, match=r"data\.root: there is no folder memory://nowhere"):
        read_rows("memory://nowhere")


def test_a_source_is_the_files_that_are_asked_for(tmp_path: Path) -> None:
    made = rows()
    write(tmp_path / "data", made[:70], name="train-0.parquet")
    write(tmp_path / "data", made[70:], name="validation-0.parquet")
    write(tmp_path / "data", made, name=".train-1.parquet")  # still being written
    write(tmp_path / ".cache/data", made)
    assert list(source_files(tmp_path)) == ["data/train-0.parquet", "data/validation-0.parquet"]
    assert len(read_rows(tmp_path, "data/train-*.parquet").table) == 70
    assert source_fingerprint(tmp_path, "data/train-*.parquet") != source_fingerprint(tmp_path)
    with pytest.raises(UserError, match=r"holds no files data/test-\*\.parquet \(data\.files chooses them\)"):
        read_rows(tmp_path, "data/test-*.parquet")


def test_links_are_followed_and_folders_may_have_any_name(tmp_path: Path) -> None:
    path = write(tmp_path / "blobs", rows())
    linked = tmp_path / "a set [v2]" / "data"
    linked.mkdir(parents=True)
    (linked / "train.parquet").symlink_to(path)
    assert len(read_rows(linked.parent).table) == len(rows())


@pytest.mark.parametrize(
    ("root", "told"),
    [
        ("s3://bucket/set", "data.root: s3://bucket/set needs a package that is not installed; pip install s3fs"),
        ("gs://bucket/set", "pip install gcsfs"),
        ("nix://bucket/set", "Protocol not known: nix"),
    ],
)
def test_a_protocol_that_cannot_be_read_says_what_to_install(
    monkeypatch: pytest.MonkeyPatch, root: str, told: str
) -> None:
    for package in ("s3fs", "gcsfs"):
        monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(UserError, match=re.escape(told)):
        read_rows(root)


def test_a_name_that_is_no_folder_is_looked_for_on_the_hub(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    asked = []

    def offline(system: Any, path: str, **_: Any) -> None:
        asked.append(path)
        raise ConnectionError("no network")

    monkeypatch.setattr(HfFileSystem, "info", offline)
    with pytest.raises(UserError, match=r"there is no folder owner/name, and hf://datasets/owner/name: cannot be read"):
        read_rows("owner/name")
    assert asked == ["datasets/owner/name"]
    write(tmp_path / "owner/name", rows())
    assert len(read_rows("owner/name").table) == len(rows())
    assert len(asked) == 1


def test_users_may_have_names(tmp_path: Path) -> None:
    path = write(tmp_path, rows())
    table = pq.read_table(path)
    names = pa.array([f"user {number}" for number in table["user_id"].to_pylist()])
    pq.write_table(table.set_column(table.column_names.index("user_id"), "user_id", names), path)
    assert read_rows(tmp_path).table["user_id"].to_pylist() == names.to_pylist()


def test_huge_and_foreign_captions_keep_what_is_seen_of_them(tmp_path: Path) -> None:
    captions = ["猫 🐈 " * 100_000, "e\u0301 \u00e9\nnew line\0", "'; drop table"]
    write(tmp_path, [row(number, user=1, caption="x") | {"caption": text} for number, text in enumerate(captions)])
    found = read_rows(tmp_path).table["caption"].to_pylist()
    assert found == [captions[0].strip(), "é é new line", captions[2]]


def test_damaged_rows_are_reported_with_their_place_and_reason(tmp_path: Path) -> None:
    made = rows()
    made[3]["caption"], made[60]["user_id"], made[61]["has_label"] = " ", None, False
    write(tmp_path, made, name="b.parquet")
    write(tmp_path, [row(1, user=1, caption="cat", label_0=0.2)], name="a.parquet")
    assert read_rows(tmp_path).unusable.sort_by("file").to_pylist() == [
        {"file": "a.parquet", "row_group": 0, "row": 0, "reason": "unclear_label"},
        {"file": "b.parquet", "row_group": 0, "row": 3, "reason": "empty_caption"},
        {"file": "b.parquet", "row_group": 1, "row": 10, "reason": "no_user"},
    ]


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
    message = f"{re.escape(str(path))}: row group 1 is damaged.*if `ppd prepare` made it, delete it"
    with pytest.raises(UserError, match=message):
        read_rows(tmp_path)


def test_missing_columns_are_all_named(tmp_path: Path) -> None:
    path = write(tmp_path, rows())
    pq.write_table(pq.read_table(path).drop_columns(["jpg_0", "caption"]), path)
    with pytest.raises(UserError, match="lacks the columns caption, jpg_0"):
        read_rows(tmp_path)


def test_a_column_of_another_type_is_named(tmp_path: Path) -> None:
    path = write(tmp_path, rows())
    table = pq.read_table(path)
    users = pa.array([number % 2 == 0 for number in range(len(table))])
    pq.write_table(table.set_column(table.column_names.index("user_id"), "user_id", users), path)
    with pytest.raises(UserError, match="row group 0: the column user_id holds bool, expected numbers or text"):
        read_rows(tmp_path)
    rankings = pa.array([f"ranking {number}" for number in range(len(table))])
    pq.write_table(table.set_column(table.column_names.index("ranking_id"), "ranking_id", rankings), path)
    with pytest.raises(UserError, match="row group 0: the column ranking_id holds string, expected int64"):
        read_rows(tmp_path)


def test_wider_types_of_other_writers_are_read(tmp_path: Path) -> None:
    path = write(tmp_path, rows())
    table = pq.read_table(path)
    types = {"user_id": pa.int32(), "created_at": pa.timestamp("us"), "caption": pa.large_string()}
    types |= dict.fromkeys(("model_0", "image_1_uid"), pa.dictionary(pa.int32(), pa.string()))
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
