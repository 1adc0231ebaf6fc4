"""Shards of WebDataset, folders that `datasets` saved and several files: the same choices as of one table."""

from __future__ import annotations

import io
import json
import tarfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from tests.data.test_folder import IMAGES, Row, as_jsonl, own, place, source
from tests.data.test_images_in_tables import ROWS, SIDES, STRUCT, as_datasets, as_struct, taken_over

from ppd_lightning.data import table_parts
from ppd_lightning.data.table_parts import open_table, rows_of
from ppd_lightning.data.webdataset import samples
from ppd_lightning.errors import UserError
from ppd_lightning.users.new_choices import choices_of_table

Files = Mapping[str, bytes]


def tar(
    files: Files | Sequence[tuple[str, bytes]], change: Callable[[tarfile.TarInfo], None] = lambda _: None
) -> bytes:
    made = io.BytesIO()
    with tarfile.open(fileobj=made, mode="w") as archive:
        for name, data in files.items() if isinstance(files, Mapping) else files:
            member = tarfile.TarInfo(name)
            member.size = len(data)
            change(member)
            archive.addfile(member, io.BytesIO(data) if member.isreg() and member.size == len(data) else None)
    return made.getvalue()


def sample(key: str, row: Row, names: Sequence[str] = ("0.jpg", "1.png")) -> dict[str, bytes]:
    """A row of chosen and rejected as people write it: the words in JSON, the images beside."""
    words = {"caption": row["prompt"], "user": row["user"], "choice": 0}
    images = {f"{key}.{name}": IMAGES[row[side]] for name, side in zip(names, SIDES, strict=True)}
    return {f"{key}.json": json.dumps(words).encode(), **images}


def shards(folder: Path, rows: Sequence[Row] = ROWS, ending: str = ".tar", **named: Any) -> Path:
    """A sample a shard."""
    folder.mkdir(parents=True)
    for number, row in enumerate(rows):
        (folder / f"pairs-{number:03}{ending}").write_bytes(tar(sample(f"a/{number:06}", row, **named)))
    return folder


def write_arrow(path: Path, rows: Sequence[Row], schema: pa.Schema) -> None:
    with pa.OSFile(str(path), "wb") as file, pa.ipc.new_stream(file, schema) as writer:
        writer.write_table(pa.Table.from_pylist(list(rows), schema))


def saved(folder: Path, rows: Sequence[Row], schema: pa.Schema) -> Path:
    """The layout of `Dataset.save_to_disk`, a row a file."""
    folder.mkdir(parents=True)
    names = [f"data-{number:05}-of-{len(rows):05}.arrow" for number in range(len(rows))]
    for name, row in zip(names, rows, strict=True):
        write_arrow(folder / name, [row], schema)
    state = {"_data_files": [{"filename": name} for name in names], "_split": "train"}
    (folder / "state.json").write_text(json.dumps(state))
    (folder / "dataset_info.json").write_text("{}")
    return folder


SCHEMA = pa.schema({"prompt": pa.string(), "chosen": STRUCT, "rejected": STRUCT, "user": pa.string()})


def beside(tmp_path: Path) -> list[Row]:
    return without_lines(taken_over(place(tmp_path / "beside", as_jsonl(ROWS), name="pairs.jsonl")))


def without_lines(rows: list[Row]) -> list[Row]:
    return [{name: value for name, value in row.items() if name != "__index_level_0__"} for row in rows]


def of(table: str | Path, tmp_path: Path) -> list[Row]:
    return without_lines(taken_over(own(Path(table), tmp_path / "taken")))


def refused(table: str | Path) -> str:
    opened = open_table(str(table), "data.table")
    with pytest.raises(UserError) as caught:
        list(rows_of(opened, "data.table", lambda header: header))
    return str(caught.value)


@pytest.mark.parametrize("table", ["pairs-{000..002}.tar", "pairs-*.tar", "pairs-{000,001,002}.tar", ""])
def test_shards_are_the_same_as_a_table_beside_files(tmp_path: Path, table: str) -> None:
    shards(tmp_path / "set [1]")
    assert of(tmp_path / "set [1]" / table, tmp_path) == beside(tmp_path)


@pytest.mark.parametrize("packing", ["gz", "bz2", "xz"])
def test_packed_shards_and_images_of_other_names(tmp_path: Path, packing: str) -> None:
    (tmp_path / "x").mkdir()
    path = tmp_path / f"x/pairs.tar.{packing}"
    with tarfile.open(path, f"w:{packing}") as archive:  # type: ignore[call-overload]
        for number, row in enumerate(ROWS):
            words = {"user": row["user"]}
            files = sample(f"{number}", row, ("chosen.jpg", "rejected.jpg"))
            files |= {f"{number}.json": json.dumps(words).encode(), f"{number}.txt": f" {row['prompt']}\n".encode()}
            for name, data in files.items():
                member = tarfile.TarInfo(name)
                member.size = len(data)
                archive.addfile(member, io.BytesIO(data))
    assert of(path, tmp_path) == beside(tmp_path)


def test_a_saved_data_set_is_the_same_and_so_is_one_split_of_several(tmp_path: Path) -> None:
    saved(tmp_path / "dict/train", as_struct(ROWS), SCHEMA)
    saved(tmp_path / "dict/test", as_struct(ROWS[:1]), SCHEMA)
    (tmp_path / "dict/dataset_dict.json").write_text('{"splits": ["train", "test"]}')
    assert of(tmp_path / "dict/train", tmp_path) == beside(tmp_path)
    with pytest.raises(UserError, match=r"holds the splits train, test; name one, such as data\.table=.*dict/train$"):
        open_table(str(tmp_path / "dict"), "data.table")
    assert len(list(rows_of(open_table(f"{tmp_path}/dict/{{train,test}}", "k"), "k", lambda header: header))) == 4


def test_parquet_files_of_the_hub_are_one_table_and_splits_are_chosen(tmp_path: Path) -> None:
    (tmp_path / "hub/data").mkdir(parents=True)
    for number, row in enumerate(as_struct(ROWS)):
        (tmp_path / f"hub/data/train-{number:05}-of-00003.parquet").write_bytes(as_datasets([row]))
    assert of(tmp_path / "hub", tmp_path) == beside(tmp_path)
    (tmp_path / "hub/data/test-00000-of-00001.parquet").write_bytes(as_datasets(as_struct(ROWS[:1])))
    with pytest.raises(
        UserError, match=r"the splits data/test, data/train; name one, such as .*/data/test-\*\.parquet"
    ):
        open_table(str(tmp_path / "hub"), "data.table")
    assert of(tmp_path / "hub/data/train-*.parquet", tmp_path) == beside(tmp_path)


@pytest.mark.parametrize("kind", ["arrow", "parquet"])
def test_class_labels_are_their_names(tmp_path: Path, kind: str) -> None:
    features = {"choice": {"names": ["tie", "1", "0"], "_type": "ClassLabel"}, "user": {"_type": "Value"}}
    metadata = {"huggingface": json.dumps({"info": {"features": features}})}
    schema = pa.schema({"choice": pa.int64(), "user": pa.string()}, metadata)
    rows = [{"choice": number, "user": "ann"} for number in (0, 1, 2, -1, None)]
    path = tmp_path / f"x.{kind}"
    if kind == "arrow":
        write_arrow(path, rows, schema)
    else:
        pq.write_table(pa.Table.from_pylist(rows, schema), path)
    read = [row["choice"] for _, row in rows_of(open_table(str(path), "k"), "k", lambda header: header)]  # type: ignore[index]
    assert read == ["tie", "1", "0", None, None]


def test_faults_name_shard_and_key(tmp_path: Path) -> None:
    shards(tmp_path / "x", [*ROWS[:2], ROWS[2] | {"user": ""}])
    with pytest.raises(UserError, match=r"pairs-002\.tar: sample a/000002: user is empty$"):
        choices_of_table(str(tmp_path / "x"), "describe.choices")
    saved(tmp_path / "y", as_struct([*ROWS[:2], ROWS[2] | {"user": ""}]), SCHEMA)
    with pytest.raises(UserError, match=r"data-00002-of-00003\.arrow: row 1: user is empty$"):
        choices_of_table(str(tmp_path / "y"), "describe.choices")


def test_the_quarantine_names_shard_and_key(tmp_path: Path) -> None:
    made = own(shards(tmp_path / "x", [*ROWS[:2], ROWS[2] | {"user": ""}]), tmp_path / "taken", 0.5)
    source(made)
    lines = made.source.lines(made.folder)
    assert lines is not None
    assert lines.faults == {3: "pairs-002.tar: sample a/000002: user is empty"}


def test_images_named_by_path_lie_beside_the_data_set(tmp_path: Path) -> None:
    rows = [row | {side: {"bytes": None, "path": row[side]} for side in SIDES} for row in ROWS]
    place(tmp_path, b"", name="nothing")  # mine/img
    saved(tmp_path / "set", rows, SCHEMA)
    (tmp_path / "mine/img").rename(tmp_path / "set/img")
    assert of(tmp_path / "set", tmp_path) == beside(tmp_path)


def link(member: tarfile.TarInfo) -> None:
    if member.name.endswith("jpg"):
        member.type, member.linkname, member.size = tarfile.SYMTYPE, "/etc/passwd", 0


def claim(member: tarfile.TarInfo) -> None:
    if member.name.endswith("jpg"):
        member.size = 1 << 40


def without_end(archive: bytes) -> bytes:
    return archive[: -(-len(archive.rstrip(b"\0")) // 512) * 512]


GOOD = sample("a", ROWS[0])
WORDS = ("a.json", GOOD["a.json"])


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (tar(GOOD)[:1500], "damaged, or no tar file"),
        (without_end(tar(GOOD)), "damaged, or no tar file (it has no end; two empty blocks are missing)"),
        (without_end(tar(GOOD)) + b"x" * 1024 + bytes(10240), "damaged, or no tar file"),
        (tar(GOOD) + tar(GOOD), "goes on behind its end, as archives do that were joined by cat"),
        (b"", "damaged, or no tar file (empty file)"),
        (b"\x1f\x8b" + bytes(100), "damaged, or no tar file"),
        (b"\x28\xb5\x2f\xfd" + bytes(100), "is packed by zstd, which is not read"),
        (tar(GOOD, claim), "a.0.jpg is 1,099,511,627,776 bytes large"),
    ],
    ids=["cut", "without an end", "a broken header", "joined", "empty", "no gzip", "zstd", "huge"],
)
def test_shards_that_cannot_be_read_are_one_sentence(tmp_path: Path, data: bytes, said: str) -> None:
    path = tmp_path / "x.tar"
    path.write_bytes(data)
    message = refused(path)
    assert said in message
    assert str(path) in message
    assert "\n" not in message


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (tar(GOOD, link), "a.0.jpg is a link; shards hold files"),
        (tar([WORDS, ("a.0.jpg", b"1"), ("a.0.jpg", b"2")]), "image_0 is there twice"),
        (tar([("/etc/a.json", b"{}")]), "/etc/a.json names a place outside of the shard"),
        (tar([("../a.json", b"{}")]), "../a.json names a place outside of the shard"),
        (tar([WORDS, ("b.json", b"{}"), ("a.0.jpg", b"1")]), "its key came before"),
        (tar([("a.json", b"[" * 100_000)]), "a.json is no JSON object (it has too many brackets)"),
        (tar([("a.json", b"[1]")]), "a.json is no JSON object (it is a list)"),
        (tar([("a.txt", b"\xff")]), "a.txt is no text in UTF-8"),
    ],
    ids=["link", "twice", "absolute", "above", "apart", "deep", "list", "latin"],
)
def test_samples_that_are_no_rows_say_why(data: bytes, said: str) -> None:
    faults = [row for _, row in samples(io.BytesIO(data), "x.tar") if isinstance(row, str)]
    assert len(faults) == 1
    assert said in faults[0]


def test_headers_that_claim_much_are_not_believed() -> None:
    member = tarfile.TarInfo("a")
    member.type, member.size = tarfile.XHDTYPE, 1 << 33
    with pytest.raises(UserError, match="a header of 8,589,934,592 bytes"):
        list(samples(io.BytesIO(without_end(tar(GOOD)) + member.tobuf(tarfile.GNU_FORMAT) + bytes(10240)), "x.tar"))


def test_an_arrow_stream_that_was_cut_off_is_no_shorter_one(tmp_path: Path) -> None:
    write_arrow(tmp_path / "x.arrow", as_struct(ROWS), SCHEMA)
    whole = (tmp_path / "x.arrow").read_bytes()
    (tmp_path / "x.arrow").write_bytes(whole[:-8])
    assert "x.arrow: damaged, or not what its name says (it has no end: a part is missing)" in refused(
        tmp_path / "x.arrow"
    )
    (tmp_path / "x.arrow").write_bytes(whole[:200] + whole[-8:])
    assert "damaged" in refused(tmp_path / "x.arrow")


@pytest.mark.parametrize(
    ("table", "said"),
    [
        ("no/such.tar", "there is no file"),
        ("x-{000..999999999}.tar", "means more than 100,000 files"),
        ("x-{9..1}.tar", "means 0 files"),
        ("nix-*.tar", "no file fits"),
        ("mixed", "holds files of several kinds; name those of one"),
        ("{mixed/a.tar,mixed/b.parquet}", "means files of several kinds"),
        ("csv", "is a folder without state.json and without .tar, .arrow and .parquet files; name a table in it"),
        ("state", "is no file of this folder"),
        ("indices", "flatten_indices() and save it again"),
    ],
)
def test_what_is_no_table_is_a_sentence(tmp_path: Path, table: str, said: str) -> None:
    for name in ("mixed/a.tar", "mixed/b.parquet", "csv/pairs.csv"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    for name, state in (
        ("state", {"_data_files": [{"filename": "../mixed/a.tar"}]}),
        ("indices", {"_data_files": [], "_indices_data_files": [{"filename": "indices.arrow"}]}),
    ):
        (tmp_path / name).mkdir()
        (tmp_path / name / "state.json").write_text(json.dumps(state))
    with pytest.raises(UserError) as caught:
        list(rows_of(open_table(f"{tmp_path}/{table}", "data.table"), "data.table", lambda header: header))
    assert said in str(caught.value)


def test_numbers_in_braces_keep_their_width() -> None:
    assert table_parts._without_braces("a-{08..10}.tar", "k") == ["a-08.tar", "a-09.tar", "a-10.tar"]
    assert table_parts._without_braces("a-{8..10}.tar", "k") == ["a-8.tar", "a-9.tar", "a-10.tar"]
    assert table_parts._without_braces("{a,b}-{0..1}", "k") == ["a-0", "a-1", "b-0", "b-1"]
