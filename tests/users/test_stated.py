"""Words about users, from any table that a person would write, or one sentence on what is wrong with it."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from tests import tiny, tiny_vlm

from ppd_lightning.backbones.released import open_model
from ppd_lightning.config.compose import compose
from ppd_lightning.errors import UserError
from ppd_lightning.users import vlm
from ppd_lightning.users.shots import ShotSet
from ppd_lightning.users.stated import describe, read_texts, seen_with

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


def test_each_reader_gives_the_states_of_its_own_and_another_text_is_another_key(tmp_path: Path) -> None:
    folders = f"model.path={tiny.model_folder(tmp_path / 'model')}", f"user.path={tiny_vlm.folder(tmp_path / 'vlm')}"
    config = compose(["user=stated", "trainer=cpu", f"user.texts={write(tmp_path / 'texts.json')}", *folders])
    read = replace(config, user=replace(config.user, reader="vlm"))
    model, none = open_model(config.model), pa.table({})
    sets = [ShotSet(f"{user}/0", user, ()) for user in ("7", "ann", "7")]
    words = [TEXTS[one.user] for one in sets]
    expected = model.load_text()(words)[1].squeeze(1).numpy()
    np.testing.assert_allclose(describe(config, model, none, sets), expected, atol=1e-6)
    np.testing.assert_array_equal(describe(read, model, none, sets), vlm.states_of_words(read, words))
    before = seen_with(config, model), seen_with(read, model)
    (tmp_path / "texts.json").write_text(json.dumps(TEXTS | {"ann": "other words"}))
    assert not set(before) & {seen_with(config, model), seen_with(read, model)}
