"""Tables come from spreadsheets, programs and data sets: what people mean is read, what nobody can mean is refused."""

from __future__ import annotations

import codecs
import datetime
import io
import json
import unicodedata
from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ppd_lightning.config.compose import compose
from ppd_lightning.config.presets import configuration
from ppd_lightning.data.own_table import read_choices
from ppd_lightning.data.pairs import PAIRS_SCHEMA, caption_id
from ppd_lightning.data.remote import location
from ppd_lightning.data.splits import check_no_leak, hash_fraction
from ppd_lightning.errors import UserError
from ppd_lightning.generation.prompts import read_prompts
from ppd_lightning.settings.plain_text import plain_text, user_name
from ppd_lightning.users.texts import read_texts

HEADER = ("caption", "image_0", "image_1", "choice", "user")
ROW = ("a cat", "a.png", "b.png", "0", "ann")
HALF = '"\\ud83d"'

Read = list[tuple[str, float | None, str]]


def text(*rows: tuple[str, ...], by: str = ",", end: str = "\n") -> str:
    return "".join(by.join(row) + end for row in rows)


CSV = text(HEADER, ROW)
OBJECT = dict(zip(HEADER, ROW, strict=True))
JSON_ROW = json.dumps(OBJECT)


def parquet(**columns: Any) -> bytes:
    file = io.BytesIO()
    values = {name: [value] for name, value in OBJECT.items()} | columns
    pq.write_table(pa.table(values), file)
    return file.getvalue()


def read(folder: Path, name: str, table: bytes) -> Read:
    for image in "ab":
        (folder / f"{image}.png").touch()
    (folder / name).write_bytes(table)
    found = read_choices(location(folder / name, "data.table"))
    if found.faults:
        raise UserError([f"line {line}: {fault}" for line, fault in found.faults])
    return [(choice.caption, choice.label, choice.user) for choice in found.choices]


@pytest.mark.parametrize(
    ("name", "table"),
    {
        "semicolons": ("t.csv", text(HEADER, ROW, by=";").encode()),
        "tabs in csv": ("t.csv", text(HEADER, ROW, by="\t").encode()),
        "tsv": ("t.tsv", text(HEADER, ROW, by="\t").encode()),
        "quoted tsv": ("t.tsv", text(HEADER, ('"a cat"', *ROW[1:]), by="\t").encode()),
        "hint of Excel": ("t.csv", b"sep=;\r\n" + text(HEADER, ROW, by=";", end="\r\n").encode()),
        "old Mac's line ends": ("t.csv", text(HEADER, ROW, end="\r").encode()),
        "UTF-8 with a mark": ("t.csv", codecs.BOM_UTF8 + CSV.encode()),
        "UTF-16 with a mark": ("t.csv", CSV.encode("utf-16")),
        "UTF-16 big end first": ("t.csv", CSV.encode("utf-16-be")),
        "UTF-16 little end first": ("t.jsonl", (JSON_ROW + "\n").encode("utf-16-le")),
        "Excel's empty rows and columns": ("t.csv", f",,,,,,\n{CSV}".replace("\n", ",,\n").encode() + b",,,,,,\n\n"),
        "spaces and capitals": (
            "t.csv",
            CSV.replace("image_0", " Image 0").replace("user", "USER").encode(),
        ),
        "JSON array": ("t.json", f"[{JSON_ROW}]".encode()),
        "pretty JSON array": ("t.jsonl", json.dumps([OBJECT], indent=2).encode()),
        "pretty objects": ("t.jsonl", json.dumps(OBJECT, indent=1).encode()),
        "JSONL named json": ("t.json", f"{JSON_ROW}\n\n".encode()),
        "string_view": ("t.parquet", parquet(caption=pa.array(["a cat"], pa.string_view()))),
        "large dictionary": ("t.parquet", parquet(user=pa.array(["ann"], pa.large_string()).dictionary_encode())),
        "floats": ("t.parquet", parquet(choice=[0.0])),
        "switches": ("t.parquet", parquet(choice=[False])),
        "decimals": ("t.parquet", parquet(choice=[Decimal("0.00")])),
        "a column beside that cannot be read": ("t.parquet", parquet(at=pa.array([2**62], pa.timestamp("us")))),
    }.values(),
)
def test_every_way_of_writing_a_row_says_the_same(tmp_path: Path, name: str, table: bytes) -> None:
    assert read(tmp_path, name, table) == [("a cat", 1.0, "ann")]


@pytest.mark.parametrize(
    ("name", "table", "told"),
    [
        ("t.csv", CSV.encode() + "Straße,a.png,b.png,0,ann\n".encode("latin-1"), "line 3: is no UTF-8 text (byte 0xDF"),
        ("t.csv", b"PK\x03\x04", "is a zip archive or an Excel workbook"),
        ("t.csv", bytes(100), "is no text"),
        ("t.csv", CSV.encode() + b'"a cat,a.png\n', "line 3: a quote opens here and never closes"),
        ("t.csv", CSV.encode() + b'"a" cat,a.png,b.png,0,ann\n', "line 3: is no row of a CSV table"),
        ("t.csv", CSV.replace("image_1", "caption").encode(), "the column caption is there 2 times"),
        ("t.csv", (",".join(map(str, range(10**5))) + "\n1\n").encode(), "it has 0, 1, 2, "),
        ("t.csv", CSV.replace("a cat", "x" * 5_000_000).encode(), "line 2: caption has 5,000,000 letters"),
        ("t.json", f"[{JSON_ROW},".encode(), "it never ends"),
        ("t.json", f"[{JSON_ROW} {JSON_ROW}]".encode(), "a comma is missing"),
        ("t.jsonl", b"[" * 100_000, "too deep"),
        ("t.jsonl", f'{JSON_ROW[:-1]}, "user": "bob"}}'.encode(), "line 1: is no JSON (the key user comes twice)"),
        ("t.jsonl", JSON_ROW.replace('"a cat"', HALF).encode(), "line 1: caption holds half a character (U+D83D)"),
        ("t.jsonl", JSON_ROW.replace('"ann"', HALF).encode(), "line 1: user holds half a character"),
        ("t.jsonl", JSON_ROW.replace('"a cat"', '["a", "b"]').encode(), "line 1: caption must be text, not a list"),
        ("t.jsonl", JSON_ROW.replace('"a cat"', "NaN").encode(), "line 1: caption is empty"),
        ("t.jsonl", JSON_ROW.replace('"ann"', "NaN").encode(), "line 1: user is empty"),
        ("t.jsonl", JSON_ROW.replace('"ann"', '{"id": 1}').encode(), "line 1: user must be a name or a whole number"),
        ("t.jsonl", JSON_ROW.replace('"ann"', "true").encode(), "line 1: user must be a name or a whole number"),
        ("t.parquet", parquet(caption=[b"a cat"]), "line 1: caption must be text, not bytes"),
        ("t.parquet", parquet(caption=[["a"]]), "line 1: caption must be text, not a list"),
        ("t.parquet", parquet(user=[datetime.datetime(2000, 1, 1)]), "line 1: user must be a name or a whole number"),
        ("t.parquet", parquet(user=[12.5]), "line 1: user must be a name or a whole number, not 12.5"),
        ("t.csv", CSV.replace("ann", "1.23E+15").encode(), "line 2: user is 1.23E+15, a number whose last digits"),
    ],
)
def test_what_nobody_can_mean_is_refused_with_its_line(tmp_path: Path, name: str, table: bytes, told: str) -> None:
    with pytest.raises(UserError) as caught:
        read(tmp_path, name, table)
    assert told in str(caught.value)
    assert len(str(caught.value)) < 2_000


def test_quotes_of_a_table_with_tabs_stay_where_they_are_no_csv(tmp_path: Path) -> None:
    (tmp_path / "p.tsv").write_text('Prompt\tNote\n"I G" on a wall\tx\n"whole"\ty\n')
    assert read_prompts(tmp_path / "p.tsv", "evaluation.captions") == ['"I G" on a wall', '"whole"']


def test_captions_that_look_the_same_come_once_and_words_stay_as_they_are(tmp_path: Path) -> None:
    forms = ["une café", unicodedata.normalize("NFD", "une café"), " une\u00a0 café ", "une\u200b café\r"]
    (tmp_path / "p.txt").write_text("\n".join(forms), encoding="utf-16")
    assert read_prompts(tmp_path / "p.txt", "evaluation.captions") == ["une café"]
    (tmp_path / "t.json").write_text(json.dumps({"12.0": " likes  it\nflat "}))
    assert read_texts(tmp_path / "t.json") == {"12": " likes  it\nflat "}


def test_captions_that_look_the_same_are_held_out_together_and_a_leak_across_forms_is_seen() -> None:
    composed, apart = (unicodedata.normalize(form, "une café") for form in ("NFC", "NFD"))
    assert caption_id(composed) == caption_id(apart) == caption_id(f" {apart}  ")
    assert hash_fraction("caption", composed) == hash_fraction("caption", apart)
    rows = [("1", composed, "a", "b", "train"), ("2", apart, "c", "d", "test_seen")]
    names = ("pair_id", "caption", "preferred", "dispreferred", "split")
    made = [dict(zip(names, row, strict=True)) | {"user_id": "ann", "caption_id": row[1]} for row in rows]
    with pytest.raises(UserError, match="1 caption of the tests would be learnt from"):
        check_no_leak(pa.Table.from_pylist(made, PAIRS_SCHEMA))


def test_marks_that_programs_add_and_joiners_of_nothing_change_no_caption_and_make_none() -> None:
    for form in ("\u202aa cat\u202c", "\u2066a cat\u2069", "a c\u200dat", "\u200ca\u061c cat", "a\u00a0\u200ccat"):
        assert plain_text(form) == "a cat"
    assert plain_text("\u200b\u200c\u2060") == ""
    for said in (
        "\U0001f469\u200d\U0001f467",
        "\u0645\u06cc\u200c\u062e",
        "\u0915\u200d\u0937",
    ):  # joiners that are seen
        assert plain_text(said) == said


@settings(max_examples=50, deadline=None)
@given(st.text() | st.text("a e\u212a\u0301\u200c\u200d\u200b\u00a0é"))
def test_the_normal_form_of_a_normal_form_is_itself(said: str) -> None:
    assert plain_text(plain_text(said)) == plain_text(said)


@pytest.mark.parametrize(
    ("value", "name"),
    [
        *[(12, "12"), (12.0, "12"), ("12.0", "12"), (1e16, "10000000000000000"), ("1e+16", "10000000000000000")],
        *[(Decimal("3.00"), "3"), ("007", "007"), ("1e16", "1e16"), ("1.5", "1.5"), (None, ""), (float("nan"), "")],
        *[(" Jose\u0301 ", "José")],
    ],
)
def test_users_are_called_as_people_mean_them(value: object, name: str) -> None:
    assert user_name(value) == name


def test_settings_call_users_as_tables_do() -> None:
    assert compose(["generation.users=[12.0,7,'12.0',007]"]).generation.users == ["12", "7", "12", "007"]
    users = [12.0, 7, 1e16, "12.0", " ann "]
    names = ["12", "7", "10000000000000000", "12", "ann"]
    assert configuration(None, {"generation": {"users": users}}).generation.users == names
    for value in (True, 12.5, None, float("nan"), ["ann"]):
        with pytest.raises(UserError, match=r"generation\.users"):
            configuration(None, {"generation": {"users": [value]}})
