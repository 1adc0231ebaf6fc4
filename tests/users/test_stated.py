"""Words about users, from any table that a person would write, or one sentence on what is wrong with it."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from tests import tiny, tiny_vlm

from ppd_lightning.config.compose import compose
from ppd_lightning.config.workspace import Workspace
from ppd_lightning.errors import UserError
from ppd_lightning.users.shot_sets import ShotSet
from ppd_lightning.users.texts import read_texts
from ppd_lightning.users.vlm_writer import ProfileWriter

READERS = ("text_encoder", "vlm")
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
    ("name", "content", "message"),
    [
        ("texts.json", '{"ann": ""}', "line 1: no text of the user ann"),
        ("texts.json", '{"ann": 3}', "line 1: no text of the user ann"),
        ("texts.json", "[1]", "line 1: is no JSON object"),
        ("texts.json", "{", "line 1: is no JSON ("),
        ("texts.csv", "user,words\nann,flat", "lacks the columns text; it has user, words"),
        ("texts.csv", "user,text\nann,flat\nann,round", "line 3: the user ann comes twice"),
        ("texts.csv", "user,text\nann,", "line 2: no text of the user ann"),
        ("texts.txt", "ann: flat", "is none of .csv, .tsv, .jsonl"),
    ],
)
def test_a_faulty_table_is_named_with_its_row(tmp_path: Path, name: str, content: str, message: str) -> None:
    (tmp_path / name).write_text(content)
    with pytest.raises(UserError) as caught:
        read_texts(tmp_path / name)
    assert message in str(caught.value)
    assert "user.texts" in str(caught.value)


def test_a_missing_file_is_named_with_the_forms_that_are_read(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"there is no file .*JSON of names and texts"):
        read_texts(tmp_path / "nothing.csv")


def test_each_reader_gives_the_states_of_its_own_and_another_text_is_another_key(tmp_path: Path) -> None:
    vlm = str(tiny_vlm.folder(tmp_path / "vlm"))
    folders = f"model.path={tiny.model_folder(tmp_path / 'model')}", f"user.path={vlm}"
    settings = ["user=stated", "trainer=cpu", f"user.texts={write(tmp_path / 'texts.json')}", *folders]
    by_encoder, by_vlm = (Workspace(compose([*settings, f"user.reader={reader}"])).users for reader in READERS)
    sets, none = [ShotSet(f"{user}/0", user, ()) for user in ("7", "ann", "7")], pa.table({})
    texts = [TEXTS[one.user] for one in sets]
    pooled = by_encoder.using.backbone.load_text()(texts)["text_pooled"].squeeze(1).numpy()
    np.testing.assert_allclose(by_encoder.kind.describe(by_encoder.using, none, sets), pooled, atol=1e-6)
    writer = ProfileWriter(vlm, "cpu", torch.float32, position="last_prompt_token", layer=-1)
    np.testing.assert_array_equal(by_vlm.kind.describe(by_vlm.using, none, sets), writer.states_of_texts(texts))
    before = {users.kind.seen_with(users.using) for users in (by_encoder, by_vlm)}
    (tmp_path / "texts.json").write_text(json.dumps(TEXTS | {"ann": "other words"}))
    assert not before & {users.kind.seen_with(users.using) for users in (by_encoder, by_vlm)}


def test_what_reads_the_texts_and_the_texts_are_looked_for(tmp_path: Path) -> None:
    def findings(*overrides: str) -> dict[str, tuple[str, bool]]:
        kind = compose(["user=stated", *overrides]).user
        return {found.need: (found.found, bool(found.remedies)) for found in kind.findings()}

    texts = write(tmp_path / "texts.csv")
    assert findings(f"user.texts={texts}") == {f"texts {texts}": ("2 users", False)}
    missing = findings("user.texts=nothing.csv", "user.reader=vlm", f"user.path={tmp_path / 'vlm'}")
    assert missing == {f"VLM {tmp_path / 'vlm'}": ("not found", True), "texts nothing.csv": ("not readable", True)}
