"""A parquet table that holds its images, as Hugging Face `datasets` writes them, is taken over as one beside files."""

from __future__ import annotations

import io
import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from tests.data.test_folder import IMAGES, Own, Row, as_jsonl, faults, own, place, source

from ppd_lightning.data import quarantine
from ppd_lightning.data.pickapic import source_fingerprint
from ppd_lightning.data.pickapic_rows import read_rows
from ppd_lightning.errors import UserError
from ppd_lightning.users.new_choices import choices_of_table

ROWS: list[Row] = [
    {"prompt": "a cat", "chosen": "img/a.jpg", "rejected": "img/b.png", "user": "ann"},
    {"prompt": "a dog", "chosen": "img/c.jpg", "rejected": "img/a.jpg", "user": "ann"},
    {"prompt": "a cow", "chosen": "img/b.png", "rejected": "img/c.jpg", "user": "bob"},
]
SIDES = ("chosen", "rejected")
STRUCT = pa.struct({"bytes": pa.binary(), "path": pa.string()})


def struct(name: str) -> dict[str, Any]:
    return {"bytes": IMAGES[name], "path": name.rpartition("/")[2]}


def as_struct(rows: Sequence[Row]) -> list[Row]:
    return [row | {side: struct(row[side]) for side in SIDES} for row in rows]


def as_datasets(rows: Sequence[Row], kind: pa.DataType = STRUCT, group: int = 2) -> bytes:
    """The layout of `Dataset.to_parquet`: structs of bytes and path, features in the metadata, small row groups."""
    features = {"prompt": {"dtype": "string", "_type": "Value"}, "user": {"dtype": "string", "_type": "Value"}}
    features |= {side: {"_type": "Image"} for side in SIDES}
    metadata = {"huggingface": json.dumps({"info": {"features": features}})}
    schema = pa.schema({"prompt": pa.string(), "chosen": kind, "rejected": kind, "user": pa.string()}, metadata)
    file = io.BytesIO()
    pq.write_table(pa.Table.from_pylist(list(rows), schema), file, row_group_size=group)
    return file.getvalue()


def holding(tmp_path: Path, table: bytes, max_unusable: float = 0.0, name: str = "held.parquet") -> Own:
    (tmp_path / "mine").mkdir(parents=True, exist_ok=True)
    (tmp_path / "mine" / name).write_bytes(table)
    return own(tmp_path / "mine" / name, tmp_path / "held", max_unusable)


def taken_over(made: Own) -> list[Row]:
    """The rows without what names files."""
    table = pq.read_table(source(made) / "choices.parquet")
    return table.drop_columns(["image_0_url", "image_1_url"]).to_pylist()


@pytest.mark.parametrize(
    "kind", [STRUCT, pa.binary(), pa.large_binary(), pa.dictionary(pa.int32(), pa.binary())], ids=str
)
def test_a_table_that_holds_its_images_is_the_same_as_one_beside_files(tmp_path: Path, kind: pa.DataType) -> None:
    beside = place(tmp_path, as_jsonl(ROWS), name="pairs.jsonl")
    rows = as_struct(ROWS) if kind == STRUCT else [row | {side: IMAGES[row[side]] for side in SIDES} for row in ROWS]
    made = holding(tmp_path / "alone", as_datasets(rows, kind))
    assert taken_over(made) == taken_over(beside)
    assert len(pq.read_table(source(made) / "choices.parquet", columns=["jpg_0"])) == 3


def test_many_row_groups_are_read_in_step_with_the_choices(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ppd_lightning.data.folder_files.GROUP_ROWS", 5)
    monkeypatch.setattr("ppd_lightning.data.table_parquet.IMAGE_ROWS", 3)
    rows = [row | {"prompt": f"{row['prompt']} {number}"} for number in range(7) for row in ROWS]
    rows[4]["chosen"], rows[9]["rejected"] = "img/b.png", "img/b.png"
    beside = place(tmp_path, as_jsonl(rows), name="pairs.jsonl")
    assert taken_over(holding(tmp_path / "alone", as_datasets(as_struct(rows), group=4))) == taken_over(beside)


def test_structs_without_bytes_name_files_and_without_both_are_quarantined(tmp_path: Path) -> None:
    place(tmp_path, b"", name="nothing")  # the images
    rows = as_struct(ROWS)
    rows[0]["chosen"] = {"bytes": None, "path": "img/a.jpg"}
    rows[1]["chosen"] = {"bytes": None, "path": None}
    rows[2]["rejected"] = {"bytes": None, "path": "img/nix.jpg"}
    made = holding(tmp_path, as_datasets(rows))
    assert faults(made) == [
        f"{tmp_path}/mine/held.parquet: row 2: chosen is empty",
        f"{tmp_path}/mine/held.parquet: row 3: there is no image {tmp_path}/mine/img/nix.jpg",
    ]
    read = read_rows(source(replace(made, source=replace(made.source, max_unusable=0.7))))
    assert read.table["caption"].to_pylist() == ["a cat"]
    quarantine.write(
        made.folder,
        read.unusable,
        read.counts["rows"],
        0.7,
        made.source.parquet(made.folder),
        made.source.lines(made.folder),
    )
    listed = pq.read_table(made.folder / quarantine.FILE).to_pylist()
    assert [(row["file"], row["row"], row["reason"]) for row in listed] == [
        ("held.parquet", 2, "chosen is empty"),
        ("held.parquet", 3, f"there is no image {tmp_path}/mine/img/nix.jpg"),
    ]


def test_bytes_that_are_no_image_and_a_picture_beside_itself_are_told(tmp_path: Path) -> None:
    rows = as_struct(ROWS)
    rows[1]["rejected"] = rows[1]["chosen"]
    (both,) = faults(holding(tmp_path, as_datasets(rows)))
    assert "row 2: chosen and rejected are both " in both
    rows = as_struct(ROWS)
    rows[1]["rejected"] = {"bytes": b"<html>", "path": None}
    (broken,) = faults(holding(tmp_path, as_datasets(rows)))
    assert "row 2: " in broken
    assert broken.endswith("is a web page (HTML) and no image that can be read")


def test_another_picture_in_the_table_makes_other_files(tmp_path: Path) -> None:
    made = holding(tmp_path, as_datasets(as_struct(ROWS)))
    path = source(made) / "choices.parquet"
    first, written = source_fingerprint(path.parent), path.stat().st_mtime_ns
    assert source(made).joinpath("choices.parquet").stat().st_mtime_ns == written
    rows = as_struct(ROWS)
    rows[2]["chosen"] = rows[0]["rejected"] | {"bytes": IMAGES["img/a.jpg"]}
    assert source_fingerprint(source(holding(tmp_path, as_datasets(rows)))) != first


def test_new_people_are_read_from_such_a_table_as_from_one_beside_files(tmp_path: Path) -> None:
    place(tmp_path, as_jsonl(ROWS), name="pairs.jsonl")
    holding(tmp_path / "alone", as_datasets(as_struct(ROWS)))
    beside = choices_of_table(str(tmp_path / "mine/pairs.jsonl"), "describe.choices")
    held = choices_of_table(str(tmp_path / "alone/mine/held.parquet"), "describe.choices")
    assert list(held) == ["ann", "bob"]
    for name, own_choices in held.items():
        for one, other in zip(own_choices, beside[name], strict=True):
            assert (one.pair_id, one.preferred_uid) == (other.pair_id, other.preferred_uid)
            assert np.array_equal(np.asarray(one.preferred), np.asarray(other.preferred))
            assert np.array_equal(np.asarray(one.other), np.asarray(other.other))
    rows = as_struct(ROWS)
    rows[0]["chosen"] = {"bytes": b"<html>", "path": None}
    holding(tmp_path / "broken", as_datasets(rows))
    with pytest.raises(UserError, match=r"row 1: .* and no image that can be read"):
        choices_of_table(str(tmp_path / "broken/mine/held.parquet"), "describe.choices")
