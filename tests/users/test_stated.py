"""Words about users, from any table that a person would write, or one sentence on what is wrong with it."""

from __future__ import annotations

import json
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from ppd_lightning.run.errors import UserError
from ppd_lightning.users.stated import read_texts

TEXTS = {"ann": 'likes "flat", calm pictures\nand no noise', "7": "Größe, Farbe ✓"}


def write(path: Path) -> Path:
    rows = [{"user": user, "text": text} for user, text in TEXTS.items()]
    if path.suffix == ".json":
        path.write_text(json.dumps(TEXTS), encoding="utf-8")
    elif path.suffix == ".jsonl":
        path.write_text("\n".join(map(json.dumps, rows)), encoding="utf-8")
    elif path.suffix == ".csv":
        quoted = ["{},{}".format(one["user"], '"' + one["text"].replace('"', '""') + '"') for one in rows]
        path.write_text("\n".join(["user,text", *quoted]), encoding="utf-8")
    else:
        pq.write_table(pa.Table.from_pylist(rows), path)
    return path


@pytest.mark.parametrize("name", ["texts.json", "texts.jsonl", "texts.csv", "texts.parquet"])
def test_every_form_of_the_table_says_the_same(tmp_path: Path, name: str) -> None:
    assert read_texts(write(tmp_path / name)) == TEXTS


@pytest.mark.parametrize(
    ("name", "content", "told"),
    [
        ("texts.json", '{"ann": ""}', "row 1: no text of the user ann"),
        ("texts.json", '{"ann": 3}', "row 1: no text of the user ann"),
        ("texts.json", "[1]", "cannot be read"),
        ("texts.json", "{", "cannot be read"),
        ("texts.csv", "user,words\nann,flat", "cannot be read"),
        ("texts.csv", "user,text\nann,flat\nann,round", "row 2: the user ann comes twice"),
        ("texts.csv", "user,text\nann,", "row 1: no text of the user ann"),
        ("texts.txt", "ann: flat", "files that end in .txt are not read"),
    ],
)
def test_a_faulty_table_is_told_with_its_place(tmp_path: Path, name: str, content: str, told: str) -> None:
    (tmp_path / name).write_text(content)
    with pytest.raises(UserError) as caught:
        read_texts(tmp_path / name)
    assert told in str(caught.value)
    assert "user.texts" in str(caught.value)


def test_a_missing_file_is_told_with_the_forms_that_are_read(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"there is no file .*JSON of names and texts"):
        read_texts(tmp_path / "nothing.csv")
