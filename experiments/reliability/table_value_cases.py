"""Cases of `tables.py`: what cells and settings mean: users, captions, words about users."""

from __future__ import annotations

import json
import unicodedata
from decimal import Decimal

import pyarrow as pa
from table_cases import ROW, Case, changed, parquet, table

NFD = unicodedata.normalize("NFD", "une café")


def users() -> list[Case]:
    """Names of users, as columns of several types hold them."""
    read: dict[str, tuple[str, bytes, str]] = {
        "12.0 in floats": (".parquet", parquet(user=[12.0]), "12"),
        "1e16 in floats": (".parquet", parquet(user=[1e16]), "10000000000000000"),
        "integers": (".parquet", parquet(user=[2**62]), str(2**62)),
        "decimals": (".parquet", parquet(user=[Decimal("5.000")]), "5"),
        "12.0 in CSV": (".csv", table([*ROW[:4], "12.0"]).encode(), "12"),
        "1e+16 in CSV": (".csv", table([*ROW[:4], "1e+16"]).encode(), "10000000000000000"),
        "12.0 in JSON": (".jsonl", json.dumps(changed(user=12.0)).encode(), "12"),
        "minus zero": (".jsonl", json.dumps(changed(user=-0.0)).encode(), "0"),
        "007": (".csv", table([*ROW[:4], "007"]).encode(), "007"),
        "hexadecimal": (".csv", table([*ROW[:4], "12e4"]).encode(), "12e4"),
        "two forms": (".csv", table([*ROW[:4], "Jose\u0301"]).encode(), "José"),
        "nan as text": (".csv", table([*ROW[:4], "Nan"]).encode(), "Nan"),
    }
    refuse: dict[str, tuple[str, bytes, str]] = {
        "NaN in floats": (".parquet", parquet(user=[float("nan")]), "user is empty"),
        "null": (".parquet", parquet(user=pa.nulls(1)), "user is empty"),
        "infinity": (".parquet", parquet(user=[float("inf")]), "user must be"),
        "a fraction": (".parquet", parquet(user=[12.5]), "user must be"),
        "a switch": (".parquet", parquet(user=[True]), "user must be"),
        "bytes": (".parquet", parquet(user=[b"ann"]), "user must be"),
        "a list": (".jsonl", json.dumps(changed(user=["ann"])).encode(), "user must be"),
        "an object": (".jsonl", json.dumps(changed(user={"id": 1})).encode(), "user must be"),
        "shortened by Excel": (".csv", table([*ROW[:4], "1.23457E+15"]).encode(), "last digits are lost"),
        "5 MB": (".csv", table([*ROW[:4], "x" * 5_000_000]).encode(), "letters"),
    }
    cases = [Case(f"user: {name}", end, content, [f"a cat|1|{user}"]) for name, (end, content, user) in read.items()]
    return cases + [Case(f"user: {name}", end, content, refused=word) for name, (end, content, word) in refuse.items()]


def captions() -> list[Case]:
    """Files of captions to draw."""
    same = ["une café"]
    forms = f"une café\n{NFD}\n  une   café\t\nune\u00a0café\nune\u200b café\n"
    read: dict[str, tuple[str, bytes, list[str]]] = {
        "forms of one": (".txt", forms.encode(), same),
        "UTF-16": (".txt", forms.encode("utf-16"), same),
        "CR": (".txt", forms.replace("\n", "\r").encode(), same),
        "csv": (".csv", f"caption;n\r\n{NFD};1\r\n;\r\n".encode(), same),
        "tsv": (".tsv", b'Prompt\tn\n"I G" on a wall\t1\n', ['"I G" on a wall']),
        "JSON": (".json", json.dumps([{"caption": NFD}]).encode(), same),
        "JSONL": (".jsonl", b'{"prompt": "a cat"}\n', ["a cat"]),
        "parquet": (".parquet", parquet(), ["a cat"]),
    }
    refuse: dict[str, tuple[str, bytes, str]] = {
        "Latin-1": (".txt", "a cat\nune café".encode("latin-1"), "line 2: is no UTF-8"),
        "no captions": (".txt", b"\n \n", "holds no caption"),
        "an empty cell": (".csv", b"caption,n\na cat,1\n ,2\n", "line 3: caption is empty"),
        "lists": (".parquet", parquet(caption=[["a"]]), "must be text, not a list"),
        "NaN": (".jsonl", b'{"caption": NaN, "n": 1}', "line 1: caption is empty"),
        "half a character": (".jsonl", b'{"caption": "\\ud83d"}', "half a character"),
        "bytes": (".parquet", parquet(caption=[b"a"]), "must be text, not bytes"),
        "a folder's name": (".xml", b"", "ends in none of"),
    }
    cases = [Case(f"captions: {name}", end, data, rows, reader="captions") for name, (end, data, rows) in read.items()]
    return cases + [
        Case(f"captions: {name}", end, data, refused=word, reader="captions")
        for name, (end, data, word) in refuse.items()
    ]


def texts() -> list[Case]:
    """Words about users."""
    rows = ["12|likes flat\ncolours"]
    words = rows[0].partition("|")[2]
    read = {
        "an object": (".json", json.dumps({"12.0": words}).encode()),
        "an array": (".json", json.dumps([{"user": 12.0, "text": words}]).encode()),
        "one row": (".json", json.dumps({"user": "12", "text": words}).encode()),
        "semicolons": (".csv", f'user;text;\n12.0;"{words}";\n;;\n'.encode("utf-16")),
        "floats": (".parquet", parquet(user=[12.0], text=[words])),
    }
    refuse = {
        "twice": (".json", b'{"ann": "a", "ann": "b"}', "comes twice"),
        "12 and 12.0": (".csv", b"user,text\n12,a\n12.0,b\n", "line 3: the user 12 comes twice"),
        "a number": (".json", b'{"ann": 3}', "no text of the user ann"),
        "half a character": (".json", b'{"ann": "\\ud83d"}', "half a character"),
        "NaN": (".jsonl", b'{"user": NaN, "text": "a"}', "user is empty"),
        "a switch": (".jsonl", b'{"user": true, "text": "a"}', "user must be"),
        "100,000 brackets": (".json", b"[" * 100_000, "too deep"),
        "Latin-1": (".csv", "user,text\nann,Größe".encode("latin-1"), "line 2: is no UTF-8"),
        "no text": (".csv", b"user,words\nann,a\n", "lacks the columns text"),
    }
    cases = [Case(f"texts: {name}", end, data, rows, reader="texts") for name, (end, data) in read.items()]
    return cases + [
        Case(f"texts: {name}", end, data, refused=word, reader="texts") for name, (end, data, word) in refuse.items()
    ]


def settings() -> list[Case]:
    """Users whom settings name: on the command line, where each is a text as it is typed, and as values of Python."""
    twelve, whole = "- '12'\n", "- '10000000000000000'\n"
    typed = {"[12.0]": twelve, "[12]": twelve, "['12.0']": twelve, "[nan]": "- 'nan'\n", "[1e16]": "- '1e16'\n"}
    values = {"[12.0]": twelve, "[12]": twelve, '["12.0"]': twelve, "[1e16]": whole, '[" 12 "]': twelve}
    refused = ("[true]", "[null]", "[12.5]", "[NaN]", "[[1]]", '["\\ud83d"]', '["1.2E+15"]')
    cases = [Case(f"typed: {value}", value, None, [line], reader="settings") for value, line in typed.items()]
    cases += [
        Case(f"typed: {value}", value, None, refused="generation.users", reader="settings")
        for value in ("[[1]]", "[{a: 1}]", "[1.2E+15]")
    ]
    cases += [Case(f"value: {value}", value, None, [line], reader="values") for value, line in values.items()]
    return cases + [
        Case(f"value: {value}", value, None, refused="generation.users", reader="values") for value in refused
    ]
