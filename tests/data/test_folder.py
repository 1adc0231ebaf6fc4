"""One's own table beside images goes the way of Pick-a-Pic's files, and its faults are told all at once."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import fsspec
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image
from tests.data.handmade import jpeg

from ppd_lightning.data import folder_files, quarantine
from ppd_lightning.data.folder_source import FolderSource
from ppd_lightning.data.images import IMAGES_SCHEMA, index_images
from ppd_lightning.data.pickapic import SCHEMA, open_parquet, read_group, source_fingerprint
from ppd_lightning.data.pickapic_rows import read_rows
from ppd_lightning.errors import UserError

ROWS = [
    {"caption": "a cat", "image_0": "img/a.jpg", "image_1": "img/b.png", "choice": 0, "user": "ann"},
    {"caption": 'one, "two"', "image_0": "img/b.png", "image_1": "img/c.jpg", "choice": 1, "user": "bo b"},
    {"caption": "猫 🐈 é\nin two lines", "image_0": "img/a.jpg", "image_1": "img/c.jpg", "choice": "tie", "user": "7"},
]
Row = dict[str, Any]


def png(name: str) -> bytes:
    file = io.BytesIO()
    with Image.open(io.BytesIO(jpeg(name))) as picture:
        picture.convert("LA").save(file, "PNG")
    return file.getvalue()


IMAGES = {"img/a.jpg": jpeg("a"), "img/b.png": png("b"), "img/c.jpg": jpeg("c")}


def as_csv(rows: Sequence[Row]) -> bytes:
    text = io.StringIO(newline="")
    names = list(dict.fromkeys(name for row in rows for name in row))
    writer = csv.DictWriter(text, names)
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue().encode("utf-8-sig")


def as_jsonl(rows: Sequence[Row]) -> bytes:
    return "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows).encode()


def as_parquet(rows: Sequence[Row]) -> bytes:
    file = io.BytesIO()
    pq.write_table(pa.Table.from_pylist([row | {"choice": str(row["choice"])} for row in rows]), file)
    return file.getvalue()


WRITERS: dict[str, Callable[[Sequence[Row]], bytes]] = {"csv": as_csv, "jsonl": as_jsonl, "parquet": as_parquet}


@dataclass(frozen=True)
class Own:
    """A source of one's own pairs, and its data folder."""

    source: FolderSource
    folder: Path


def own(
    table: str | Path,
    output: Path,
    max_unusable: float = 0.05,
    columns: dict[str, str] | None = None,
    roots: list[str] | None = None,
) -> Own:
    source = FolderSource(
        name="folder",
        table=str(table),
        columns=columns or {},
        roots=roots or [],
        labels="people",
        image_size=64,
        validation=0.05,
        min_pairs=5,
        max_unusable=max_unusable,
        workers=0,
        held_out_captions=0.1,
        unseen_users=0.1,
    )
    return Own(source, output / "data")


def place(tmp_path: Path, table: bytes, images: dict[str, bytes] | None = None, name: str = "pairs.csv") -> Own:
    """The source for a table and images that are written first."""
    for path, data in {name: table, **(IMAGES if images is None else images)}.items():
        (tmp_path / "mine" / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "mine" / path).write_bytes(data)
    return own(tmp_path / "mine" / name, tmp_path / "out")


def source(made: Own) -> Path:
    made.source.make(made.folder, made.folder.parent)
    return made.folder / "source"


def faults(made: Own) -> list[str]:
    with pytest.raises(UserError) as failure:
        source(made)
    assert not (made.folder / "source").exists() or not list((made.folder / "source").iterdir())
    return failure.value.faults


@pytest.mark.parametrize("kind", WRITERS)
def test_a_table_of_every_kind_is_read_as_pick_a_pic(tmp_path: Path, kind: str) -> None:
    root = source(place(tmp_path, WRITERS[kind](ROWS), name=f"pairs.{kind}"))
    read = read_rows(root)
    assert read.counts["rows"] == len(read.table) == 3
    found = read.table.to_pylist()
    assert [row["user_id"] for row in found] == ["ann", "bo b", "7"]
    assert [row["caption"] for row in found] == ["a cat", 'one, "two"', "猫 🐈 é in two lines"]
    assert [row["label_0"] for row in found] == [1.0, 0.0, 0.5]
    images = index_images(read.table)
    assert images.schema.equals(IMAGES_SCHEMA)
    stored = {}
    file = open_parquet(root, "choices.parquet", ("jpg_0", "jpg_1"))
    columns = read_group(file, root, 0, ("jpg_0", "jpg_1"))
    for image in images.to_pylist():
        stored[image["image_id"]] = columns[f"jpg_{image['side']}"][image["row"]].as_py()
    assert sorted(stored.values()) == sorted(IMAGES.values())
    assert stored[found[1]["image_1"]] == IMAGES["img/c.jpg"]


def test_the_columns_are_those_of_pick_a_pic(tmp_path: Path) -> None:
    table = pq.read_table(source(place(tmp_path, as_csv(ROWS))) / "choices.parquet")
    assert table.column_names == SCHEMA.names
    told = table.drop_columns(["jpg_0", "jpg_1"]).to_pylist()
    assert [row["best_image_uid"] for row in told] == [told[0]["image_0_uid"], told[1]["image_1_uid"], None]
    assert [row["are_different"] for row in told] == [True, True, False]
    assert [row["__index_level_0__"] for row in told] == [2, 3, 5]  # the lines where they end


def test_an_image_with_two_names_is_one(tmp_path: Path) -> None:
    rows = [{**ROWS[0], "image_0": "img/again.jpg"}, ROWS[0] | {"caption": "other"}]
    read = read_rows(source(place(tmp_path, as_csv(rows), {**IMAGES, "img/again.jpg": IMAGES["img/a.jpg"]})))
    assert len(index_images(read.table)) == 2


def test_an_image_in_many_rows_is_stored_once(tmp_path: Path) -> None:
    many = [ROWS[0] | {"caption": f"cat {number}"} for number in range(200)]
    noise = {name: data + bytes(10_000) for name, data in IMAGES.items()}
    path = source(place(tmp_path, as_csv(many), noise)) / "choices.parquet"
    metadata = pq.read_metadata(path)
    columns = metadata.row_group(0)
    sizes = [columns.column(SCHEMA.get_field_index(name)).total_uncompressed_size for name in ("jpg_0", "jpg_1")]
    assert sum(sizes) < 2 * sum(map(len, noise.values()))
    assert len(read_rows(path.parent).table) == 200


def test_row_groups_fit_the_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = source(place(tmp_path, as_csv(ROWS)))
    expected = pq.read_table(whole / "choices.parquet").to_pylist()
    monkeypatch.setattr(folder_files, "GROUP_BYTES", len(IMAGES["img/a.jpg"]))
    other = source(own(tmp_path / "mine/pairs.csv", tmp_path / "other"))
    file = pq.ParquetFile(other / "choices.parquet")
    assert file.num_row_groups == 3
    assert file.read().to_pylist() == expected


def test_rankings_and_models_are_read_where_they_are_reported(tmp_path: Path) -> None:
    told = {"ranking": "r1", "model_0": "sdxl", "model_1": ""}
    rows = [ROWS[0] | told, ROWS[1] | told, ROWS[2] | told | {"ranking": "r2"}]
    table = pq.read_table(source(place(tmp_path, as_csv(rows))) / "choices.parquet").to_pylist()
    assert [row["model_0"] for row in table] == ["sdxl"] * 3
    assert [row["model_1"] for row in table] == [None] * 3
    assert table[0]["ranking_id"] == table[1]["ranking_id"] != table[2]["ranking_id"]


def test_the_order_of_the_table_does_not_change_the_pairs(tmp_path: Path) -> None:
    one = read_rows(source(place(tmp_path / "one", as_csv(ROWS)))).table["pair_id"].to_pylist()
    other = read_rows(source(place(tmp_path / "other", as_csv(ROWS[::-1])))).table["pair_id"].to_pylist()
    assert other == one[::-1]
    assert len(set(one)) == 3


def test_a_choice_told_twice_counts_once_and_a_contradiction_is_quarantined(tmp_path: Path) -> None:
    rows = [*ROWS, ROWS[0], ROWS[1] | {"choice": 0}]
    read = read_rows(source(place(tmp_path, as_csv(rows))))
    assert read.table["user_id"].to_pylist() == ["ann", "7"]
    assert (read.counts["repeated"], read.counts["contradictory"]) == (1, 2)
    assert read.unusable["row"].to_pylist() == [1, 4]


def test_all_faults_of_a_table_are_reported_at_once_with_their_lines(tmp_path: Path) -> None:
    wrong: list[Row] = [
        ROWS[0],
        ROWS[0] | {"image_0": "img/nix.jpg", "image_1": "nowhere/b.png"},
        ROWS[0] | {"choice": 2},
        ROWS[0] | {"caption": "  "},
        ROWS[0] | {"user": ""},
        ROWS[0] | {"image_1": "img/a.jpg", "choice": ""},
    ]
    made = place(tmp_path, as_csv(wrong))
    mine = tmp_path / "mine"
    assert faults(made) == [
        f"{mine}/pairs.csv: line 3: there is no image {mine}/img/nix.jpg",
        f"{mine}/pairs.csv: line 3: there is no image {mine}/nowhere/b.png",
        f"{mine}/pairs.csv: line 4: choice must be 0, 1 or tie, not '2'",
        f"{mine}/pairs.csv: line 5: caption is empty",
        f"{mine}/pairs.csv: line 6: user is empty",
        f"{mine}/pairs.csv: line 7: choice must be 0, 1 or tie, not ''",
        f"{mine}/pairs.csv: line 7: image_0 and image_1 are both img/a.jpg",
    ]


def test_a_few_faulty_rows_are_left_out_and_reported_by_their_lines(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    sound = [ROWS[0] | {"caption": f"cat {number}"} for number in range(30)]
    wrong: list[Row] = [
        ROWS[0] | {"image_0": "img/nix.jpg"},
        ROWS[0] | {"image_1": "img/broken.jpg"},
        ROWS[0] | {"choice": 2},
        ROWS[0] | {"caption": "  "},
        {"caption": "a", "image_0": "img/a.jpg", "image_1": "img/c.jpg", "choice": 1},
        ROWS[0] | {"image_1": "img/a.jpg"},
        ROWS[0] | {"image_0": ""},
    ]
    here = tmp_path / "mine/img"
    reasons = [
        f"there is no image {here}/nix.jpg",
        f"{here}/broken.jpg is a web page (HTML) and no image that can be read",
    ]
    reasons += ["unclear_label", "empty_caption", "no_user", "same_image", "image_0 is empty"]
    made = place(tmp_path, as_jsonl([*sound, *wrong]), IMAGES | {"img/broken.jpg": b"<html>"}, "pairs.jsonl")
    made = replace(made, source=replace(made.source, max_unusable=0.2))
    read = read_rows(source(made))
    assert (read.counts["rows"], len(read.table)) == (37, 30)
    files, lines = made.source.parquet(made.folder), made.source.lines(made.folder)
    quarantine.write(made.folder, read.unusable, read.counts["rows"], 0.2, files, lines)
    listed = pq.read_table(made.folder / quarantine.FILE).to_pylist()
    assert [(row["file"], row["row_group"], row["reason"]) for row in listed] == [
        ("pairs.jsonl", None, reason) for reason in reasons
    ]
    assert [row["row"] for row in listed] == [31, 32, 33, 34, 35, 36, 37]
    assert "the first is line 31 of pairs.jsonl" in caplog.text


def test_of_very_many_faults_the_first_are_reported_and_the_others_counted(tmp_path: Path) -> None:
    told = faults(place(tmp_path, as_csv([ROWS[0] | {"choice": "x"}] * 100)))
    assert len(told) == 21
    assert told[-1].endswith("and 80 faults more")


def test_what_is_no_image_is_reported_with_its_lines(tmp_path: Path) -> None:
    images = IMAGES | {"img/b.png": b"<html>", "img/c.jpg": b""}
    told = faults(place(tmp_path, as_jsonl(ROWS), images, name="pairs.jsonl"))
    lines = [fault.split(": ", 1)[1].split(" ")[:3] for fault in told]
    where = f"{tmp_path}/mine/img"
    assert lines == [
        ["line", "1:", f"{where}/b.png"],
        ["line", "2:", f"{where}/b.png"],
        ["line", "2:", f"{where}/c.jpg"],
        ["line", "3:", f"{where}/c.jpg"],
    ]


@pytest.mark.parametrize(
    ("name", "table", "told"),
    [
        ("pairs.csv", b"caption,image_0,image_1\na,b,c\n", "lacks the columns choice, user; it has caption, image_0"),
        ("pairs.csv", b"caption;image_0;image_1;choice;user\n", "holds no rows"),
        ("pairs.csv", b"caption|image_0|image_1|choice|user\na|b|c|0|d\n", "lacks the columns caption, image_0"),
        ("pairs.csv", as_csv(ROWS[:1]) + b"cat, black,img/a.jpg,img/c.jpg,0,ann\n", "line 3: has more fields than"),
        ("pairs.csv", "caption,käse\n".encode("latin-1"), "is no UTF-8 text"),
        ("pairs.csv", b"", "holds no rows"),
        ("pairs.jsonl", as_jsonl(ROWS[:1]) + b"{nix\n", "line 2: is no JSON (Expecting"),
        ("pairs.jsonl", as_jsonl(ROWS[:1]) + b'\n"a"\n', "line 3: is no JSON object"),
        ("pairs.parquet", b"PAR1 no", "damaged, or not what its name says"),
        ("pairs.xlsx", b"PK", "is none of .csv, .tsv, .jsonl, .ndjson, .json, .parquet"),
    ],
)
def test_a_table_that_cannot_be_read_says_why(tmp_path: Path, name: str, table: bytes, told: str) -> None:
    assert told in faults(place(tmp_path, table, name=name))[0]


def test_a_missing_table_is_named(tmp_path: Path) -> None:
    assert faults(own(tmp_path / "nix.csv", tmp_path))[0].startswith("data.table: there is no file ")
    assert "there is no file nix/pairs.csv" in faults(own("nix/pairs.csv", tmp_path))[0]


def test_a_table_anywhere_goes_the_same_way(tmp_path: Path) -> None:
    memory = fsspec.filesystem("memory")
    for path, data in {"pairs.csv": as_csv(ROWS), **IMAGES}.items():
        memory.pipe(f"/folder_test/{path}", data)
    far = source(own("memory://folder_test/pairs.csv", tmp_path / "far"))
    near = source(place(tmp_path, as_csv(ROWS)))
    memory.rm("/folder_test", recursive=True)
    assert (far / "choices.parquet").read_bytes() == (near / "choices.parquet").read_bytes()


def test_it_is_made_once_and_again_when_table_or_image_change(tmp_path: Path) -> None:
    own_pairs = place(tmp_path, as_csv(ROWS))
    path = source(own_pairs) / "choices.parquet"
    first, made = source_fingerprint(path.parent), path.stat().st_mtime_ns
    source(own_pairs)
    assert path.stat().st_mtime_ns == made
    place(tmp_path, as_csv(ROWS[:2]))
    source(own_pairs)
    assert source_fingerprint(path.parent) != first
    place(tmp_path, as_csv(ROWS))
    source(own_pairs)
    assert source_fingerprint(path.parent) == first
    (tmp_path / "mine/img/a.jpg").write_bytes(jpeg("another"))
    source(own_pairs)
    assert source_fingerprint(path.parent) != first


TRIPLES = [
    {"prompt": "a cat", "chosen": "img/a.jpg", "rejected": "img/b.png", "user_id": "ann"},
    {"prompt": "a dog", "chosen": "img/c.jpg", "rejected": "img/a.jpg", "user_id": "bob"},
]


def test_chosen_and_rejected_need_no_choice(tmp_path: Path) -> None:
    place(tmp_path, as_jsonl(TRIPLES), name="pairs.jsonl")
    rows = pq.read_table(source(own(tmp_path / "mine/pairs.jsonl", tmp_path / "out")) / "choices.parquet").to_pylist()
    for row, triple in zip(rows, TRIPLES, strict=True):
        assert (row["caption"], row["user_id"]) == (triple["prompt"], triple["user_id"])
        assert row["best_image_uid"] == row["image_0_uid"]
        assert (row["jpg_0"], row["jpg_1"]) == (IMAGES[triple["chosen"]], IMAGES[triple["rejected"]])


def test_columns_of_other_names_are_named(tmp_path: Path) -> None:
    names = {"caption": "text", "image_0": "left", "image_1": "right", "choice": "better", "user": "who"}
    usual = place(tmp_path, as_csv(ROWS))
    expected = pq.read_table(source(usual) / "choices.parquet")
    renamed = [{names[name]: value for name, value in row.items()} for row in ROWS]
    (tmp_path / "mine/other.csv").write_bytes(as_csv(renamed))
    other = own(tmp_path / "mine/other.csv", tmp_path / "other", columns=names)
    assert pq.read_table(source(other) / "choices.parquet").equals(expected)
    renamed[0]["better"] = 2
    (tmp_path / "mine/faulty.csv").write_bytes(as_csv(renamed))
    (fault,) = faults(own(tmp_path / "mine/faulty.csv", tmp_path / "faulty", columns=names))
    assert fault.endswith("line 2: better must be 0, 1 or tie, not '2'")


@pytest.mark.parametrize(
    ("columns", "expected"),
    [
        ({"captoin": "prompt"}, "data.columns: there is no column captoin to name; the columns are caption, image_0"),
        ({"caption": "text"}, "pairs.jsonl has no column text; it has prompt, chosen, rejected, user_id"),
        ({"chosen": "rejected", "rejected": "chosen", "user": "prompt"}, None),
    ],
)
def test_names_that_lead_nowhere_are_told(tmp_path: Path, columns: dict[str, str], expected: str | None) -> None:
    place(tmp_path, as_jsonl(TRIPLES), name="pairs.jsonl")
    made = own(tmp_path / "mine/pairs.jsonl", tmp_path / "out", columns=columns)
    if expected is None:
        assert pq.read_table(source(made) / "choices.parquet")["user_id"].to_pylist() == ["a cat", "a dog"]
    else:
        assert expected in faults(made)[0]


def test_images_as_text_are_refused(tmp_path: Path) -> None:
    rows = [{**row, "chosen": {"bytes": "...", "path": "a.jpg"}} for row in TRIPLES]
    place(tmp_path, as_jsonl(rows), name="pairs.jsonl")
    (first, second) = faults(own(tmp_path / "mine/pairs.jsonl", tmp_path / "out"))
    assert first.endswith("pairs.jsonl: line 1: chosen holds an image as text; a parquet table can hold images")
    assert "line 2" in second
