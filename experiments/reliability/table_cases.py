"""Cases of `tables.py`: one row of pairs in every form that files have, and files that hold none."""

from __future__ import annotations

import codecs
import csv
import datetime
import gzip
import io
import json
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any, Literal

import pyarrow as pa
import pyarrow.parquet as pq

HEADER = ["caption", "image_0", "image_1", "choice", "user"]
ROW: list[Any] = ["a cat", "a.png", "b.png", 0, "ann"]
OBJECT = dict(zip(HEADER, ROW, strict=True))
SOUND = ["a cat|1|ann"]


@dataclass(frozen=True)
class Case:
    """A file and what must come of it: these rows, or a refusal with this word.

    reader: pairs, captions, texts, or settings (as typed) and values (JSON), where `file` is the value.
    """

    name: str
    file: str
    content: bytes | None
    rows: list[str] = field(default_factory=list)
    refused: str = ""
    reader: Literal["pairs", "captions", "texts", "settings", "values"] = "pairs"


def table(*rows: list[Any], by: str = ",", end: str = "\n") -> str:
    """Rows below the header, separated."""
    text = io.StringIO(newline="")
    csv.writer(text, delimiter=by, lineterminator=end).writerows([HEADER, *rows])
    return text.getvalue()


def changed(**values: Any) -> dict[str, Any]:
    """The sound row with other values."""
    return OBJECT | values


def parquet(**columns: Any) -> bytes:
    """A table of one row, with other columns or values."""
    file = io.BytesIO()
    pq.write_table(pa.table({name: [value] for name, value in OBJECT.items()} | columns), file)
    return file.getvalue()


def separated() -> list[Case]:
    """CSV in all its kinds."""
    one, excel = table(ROW), table(ROW, by=";", end="\r\n")
    read = {
        "commas": one,
        "semicolons": table(ROW, by=";"),
        "tabs": table(ROW, by="\t"),
        "CRLF": table(ROW, end="\r\n"),
        "CR": table(ROW, end="\r"),
        "no end of the last line": one.rstrip(),
        "blank lines": one.replace("\n", "\n\n"),
        "empty rows of Excel": f";;;;\r\n{excel};;;;\r\n;;;;\r\n",
        "empty columns of Excel": excel.replace("\r\n", ";;;\r\n"),
        "sep= of Excel": f"sep=;\r\n{excel}",
        "spaces in the header": one.replace("image_0", " image_0 ").replace("caption", "caption "),
        "capitals and spaces": one.replace("caption,image_0,image_1", "Caption,Image 0,IMAGE-1"),
        "prompt and user_id": one.replace("caption", "Prompt").replace("user", "user_id"),
        "a column without a name": "\n".join(
            f"{number},{line}" if number else f",{line}" for number, line in enumerate(one.splitlines())
        ),
        "two notes": one.replace("user", "user,note,note").replace("ann", "ann,x,y"),
        "quoted fields": '"caption","image_0","image_1","choice","user"\n"a cat","a.png","b.png","0","ann"\n',
        "choice 0.0": table([*ROW[:3], "0.0", "ann"]),
        "choice 0,0": table([*ROW[:3], "0,0", "ann"], by=";"),
        "choice False": table([*ROW[:3], "False", "ann"]),
        "spaces around": table(["  a   cat ", "a.png ", " b.png", " 0", " ann "]),
    }
    cases = [Case(name, ".csv", text.encode(), SOUND) for name, text in read.items()]
    cases += [
        Case("tsv", ".tsv", table(ROW, by="\t").encode(), SOUND),
        Case("tsv with quotes", ".tsv", table(['a "big" cat', *ROW[1:]], by="\t").encode(), ['a "big" cat|1|ann']),
        Case("commas, quotes, lines", ".csv", table(['a, "b"\nc', *ROW[1:]]).encode(), ['a, "b" c|1|ann']),
        Case("ties", ".csv", table(ROW, [*ROW[:3], "TIE", "bob"]).encode(), [*SOUND, "a cat|0.5|bob"]),
    ]
    refuse = {
        "pipes": (one.replace(",", "|"), "lacks the columns"),
        "no header": ("a cat,a.png,b.png,0,ann\n", "lacks the columns"),
        "a header twice": (one.replace("image_1", "caption"), "caption is there 2 times"),
        "two alike": (one.replace("caption,image_0", "Caption,CAPTION"), "2 times"),
        "empty": ("", "holds no rows"),
        "a header alone": (one.splitlines()[0], "holds no rows"),
        "too many fields": (f"{one}cat, black,a.png,b.png,0,ann\n", "line 3: has more fields"),
        "too few fields": (f"{one}a cat,a.png\n", "line 3"),
        "a quote that never closes": (f'{one}"a cat,a.png,b.png,0,ann\n', "line 3: a quote opens"),
        "a quote inside": (f'{one}"a" cat,a.png,b.png,0,ann\n', "line 3: is no row"),
        "a field of 5 MB": (table(["x" * 5_000_000, *ROW[1:]]), "5,000,000 letters"),
        "a field of 20 MB": (table(["x" * 20_000_000, *ROW[1:]]), "letters"),
        "a million columns": (",".join(map(str, range(1_000_000))) + "\n1\n", "and 999,980 more"),
        "a choice of 2": (table([*ROW[:3], 2, "ann"]), "must be 0, 1 or tie, not '2'"),
        "a choice of 0.5": (table([*ROW[:3], 0.5, "ann"]), "must be 0, 1 or tie, not '0.5'"),
        "no user": (table([*ROW[:4], " "]), "line 2: user is empty"),
    }
    return cases + [Case(name, ".csv", text.encode(), refused=word) for name, (text, word) in refuse.items()]


def encodings() -> list[Case]:
    """The same table in other bytes."""
    text = table(["ein Käfer 猫 🐈", *ROW[1:]])
    rows = ["ein Käfer 猫 🐈|1|ann"]
    read = {
        "UTF-8": text.encode(),
        "UTF-8 with a mark": codecs.BOM_UTF8 + text.encode(),
        "UTF-16": text.encode("utf-16"),
        "UTF-16 LE, no mark": text.encode("utf-16-le"),
        "UTF-16 BE, no mark": text.encode("utf-16-be"),
        "UTF-16 BE": codecs.BOM_UTF16_BE + text.encode("utf-16-be"),
        "UTF-32": text.encode("utf-32"),
    }
    refuse = {
        "Latin-1": (text.replace("猫 🐈", "").encode("latin-1"), "line 2: is no UTF-8 text (byte 0xE4"),
        "Shift JIS": (table(["猫", *ROW[1:]]).encode("shift-jis"), "line 2: is no UTF-8 text"),
        "UTF-16, cut": (text.encode("utf-16")[:-1], "is no UTF-16 text"),
        "Excel": (b"PK\x03\x04" + bytes(50), "Excel workbook"),
        "old Excel": (b"\xd0\xcf\x11\xe0" + bytes(50), "Excel workbook"),
        "gzip": (gzip.compress(text.encode()), "gzip"),
        "parquet by another name": (parquet(), "a parquet file"),
        "zeros": (bytes(10_000), "is no text"),
    }
    cases = [Case(name, ".csv", content, rows) for name, content in read.items()]
    cases += [Case(name, ".csv", content, refused=word) for name, (content, word) in refuse.items()]
    cases += [
        Case("another end", ".xlsx", b"PK", refused="is none of .csv"),
        Case("JSONL in UTF-16", ".jsonl", (json.dumps(OBJECT) + "\n").encode("utf-16"), SOUND),
        Case("NUL in a caption", ".csv", table(["a\0 cat", *ROW[1:]]).encode(), SOUND),
    ]
    return cases


def in_json() -> list[Case]:
    """JSON, by lines and as a whole."""
    line = json.dumps(OBJECT)
    read = {
        "lines": (".jsonl", f"{line}\n"),
        "ndjson with blank lines": (".ndjson", f"\n{line}\n\n"),
        "lines in .json": (".json", line),
        "an array": (".json", f"[{line}]"),
        "an array by lines": (".jsonl", f"[\n{line}\n]\n"),
        "pretty-printed": (".json", json.dumps([OBJECT], indent=4)),
        "pretty objects": (".jsonl", json.dumps(OBJECT, indent=4)),
        "an array with a mark": (".json", f"\ufeff[{line}]"),
        "CRLF": (".jsonl", f"{line}\r\n"),
        "empty objects": (".jsonl", f"{line}\n{{}}\n"),
        "choice 0.0": (".jsonl", json.dumps(changed(choice=0.0))),
        "choice false": (".jsonl", json.dumps(changed(choice=False))),
    }
    half = line.replace('"a cat"', '"a cat \\ud83d"')
    refuse = {
        "an array that is cut": (".json", f"[{line},", "never ends"),
        "an array without commas": (".json", f"[{line} {line}]", "comma is missing"),
        "more behind an array": (".json", f"[{line}] {line}", "more follows"),
        "an array of arrays": (".json", "[[1, 2]]", "is no JSON object"),
        "columns instead of rows": (".json", json.dumps({"caption": {"0": "x"}}), "lacks the columns"),
        "no JSON": (".jsonl", f"{line}\n{{nix\n", "line 2: is no JSON"),
        "100,000 brackets": (".jsonl", "[" * 100_000, "too deep"),
        "100,000 braces": (".jsonl", '{"a":' * 100_000, "is no"),
        "a number of 10,000 digits": (".jsonl", line.replace(" 0,", f" {'9' * 10_000},"), "is no JSON"),
        "a key twice": (".jsonl", f'{line[:-1]}, "user": "bob"}}', "user comes twice"),
        "half a character": (".jsonl", half, "line 1: caption holds half a character"),
        "half a character in a user": (".jsonl", line.replace('"ann"', '"\\ude00"'), "user holds half a character"),
        "half a character in a path": (".jsonl", line.replace('"a.png"', '"\\ude00"'), "image_0 holds half"),
        "a list for a caption": (".jsonl", json.dumps(changed(caption=["a"])), "must be text, not a list"),
        "an object for a caption": (".jsonl", json.dumps(changed(caption={})), "must be text, not an object"),
        "a number for a caption": (".jsonl", json.dumps(changed(caption=7)), "must be text, not the number 7"),
        "NaN for a caption": (".jsonl", json.dumps(changed(caption=float("nan"))), "caption is empty"),
        "null for a caption": (".jsonl", json.dumps(changed(caption=None)), "caption is empty"),
        "a list for a path": (".jsonl", json.dumps(changed(image_0=[1])), "image_0 must be the path"),
        "a list for a choice": (".jsonl", json.dumps(changed(choice=[1])), "must be 0, 1 or tie"),
        "an image as text": (".jsonl", json.dumps(changed(image_0={"bytes": "x"})), "a parquet table can hold images"),
    }
    cases = [Case(f"JSON: {name}", end, text.encode(), SOUND) for name, (end, text) in read.items()]
    return cases + [
        Case(f"JSON: {name}", end, text.encode(), refused=word) for name, (end, text, word) in refuse.items()
    ]


def in_parquet() -> list[Case]:
    """Parquet, as several writers leave it."""
    texts = pa.array(["a cat"])
    read = {
        "plain": parquet(),
        "a dictionary": parquet(caption=texts.dictionary_encode()),
        "large_string": parquet(caption=texts.cast(pa.large_string())),
        "string_view": parquet(caption=texts.cast(pa.string_view())),
        "an index of pandas": parquet(__index_level_0__=[7]),
        "floats": parquet(choice=[0.0]),
        "half floats": parquet(choice=pa.array([0.0], pa.float32()).cast(pa.float16())),
        "switches": parquet(choice=[False]),
        "decimals": parquet(choice=[Decimal("0.00")]),
        "small integers": parquet(choice=pa.array([0], pa.uint8())),
        "a time out of range beside": parquet(at=pa.array([2**62], pa.timestamp("us"))),
        "a list beside": parquet(tags=[["x"]]),
        "a struct beside": parquet(more=[{"deep": {"deeper": [1]}}]),
        "a map beside": parquet(more=pa.array([[("a", 1)]], pa.map_(pa.string(), pa.int64()))),
        "bytes beside": parquet(more=[b"\xff"]),
        "empty rows": parquet(**{name: [value, None] for name, value in OBJECT.items()}),
        "a struct of a path": parquet(image_0=[{"bytes": None, "path": "a.png"}]),
    }
    refuse = {
        "bytes for a caption": (parquet(caption=[b"a cat"]), "must be text, not bytes"),
        "a list for a caption": (parquet(caption=[["a"]]), "must be text, not a list"),
        "a struct for a caption": (parquet(caption=[{"en": "a"}]), "must be text, not an object"),
        "a time for a caption": (parquet(caption=[datetime.datetime(2000, 1, 1)]), "must be text, not a timestamp"),
        "a time out of range for a user": (parquet(user=pa.array([2**62], pa.timestamp("us"))), "user must be a name"),
        "a number for a caption": (parquet(caption=[1.5]), "must be text, not the number 1.5"),
        "null": (parquet(caption=pa.nulls(1)), "caption is empty"),
        "another type": (parquet(image_0=[3]), "image_0 must be the path"),
        "no parquet": (b"caption,user\n", "damaged, or not what its name says"),
        "cut": (parquet()[:-20], "damaged, or not what its name says"),
        "without rows": (parquet(**{name: pa.array([], pa.string()) for name in HEADER}), "holds no rows"),
        "without users": (_without("user"), "lacks the columns user"),
        "no UTF-8": (parquet(caption=pa.Array.from_buffers(pa.string(), 1, _not_utf8())), "no text in UTF-8"),
        "a choice of 0.5": (parquet(choice=[Decimal("0.50")]), "must be 0, 1 or tie"),
    }
    cases = [Case(f"parquet: {name}", ".parquet", content, SOUND) for name, content in read.items()]
    return cases + [
        Case(f"parquet: {name}", ".parquet", content, refused=word) for name, (content, word) in refuse.items()
    ]


def _without(name: str) -> bytes:
    file = io.BytesIO()
    pq.write_table(pa.table({own: [value] for own, value in OBJECT.items() if own != name}), file)
    return file.getvalue()


def _not_utf8() -> list[pa.Buffer | None]:
    return [None, pa.py_buffer((0).to_bytes(4, "little") + (2).to_bytes(4, "little")), pa.py_buffer(b"\xff\xfe")]
