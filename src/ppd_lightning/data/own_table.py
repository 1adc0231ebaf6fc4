"""A table of one's own choices between images: reading it, with every fault of it named at once.

The table is CSV (UTF-8, with a header), JSONL or parquet, a row a choice, beside its images. Its columns: caption;
image_0 and image_1, paths relative to the table; choice, 0 or 1 for the image that was preferred, or tie; user, a name
or a number. Instead of image_0, image_1 and choice it may have chosen and rejected. And if they are there: ranking,
what was asked at once; model_0 and model_1, what drew the images. Columns may have other names (`columns`).

A parquet table may hold the images themselves, as bytes or as structs of bytes and path, which is how Hugging Face
`datasets` writes them. Then it is read a second time for them, in the order of its rows (`TableImages`).
"""

from __future__ import annotations

import csv
import io
import json
import posixpath
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ppd_lightning.data.image_files import ImageFiles, quoted
from ppd_lightning.data.pair_ids import image_uid
from ppd_lightning.data.remote import Location, first_line, require_file
from ppd_lightning.errors import UserError

COLUMNS = ("caption", "image_0", "image_1", "choice", "user")
"""The columns that a table must have."""

ORDERED = ("caption", "chosen", "rejected", "user")
"""Those of a table that says by its columns which image was preferred."""

OTHER_NAMES = {"caption": ("prompt",), "user": ("user_id",)}
"""Names by which columns are found too, where the table has none of the usual name."""

FURTHER = ("ranking", "model_0", "model_1")
"""Columns that are read if they are there."""

LABELS = {"0": 1.0, "1": 0.0, "tie": 0.5}
"""What a choice makes of label_0."""

FAULTS_NAMED = 20
"""Of a table with more faults, the first are named, and the others counted."""

IMAGE_ROWS, TEXT_ROWS = 16, 1 << 16
"""Rows of a parquet table that are in memory at once, where it holds images and where it does not."""

PIECE = 1 << 20
"""Bytes of a column that are read at once."""


@dataclass(frozen=True)
class Choice:
    """A row.

    line: where it is: the line of a CSV or JSONL file, the row of a parquet file, counted from 1.
    images: as the table's file system names them; one that the table holds has a name of its content. label: 1 the
    first was preferred, 0 the second, 0.5 a tie; None where the table says something else. Text is empty where the
    table does not tell it.
    """

    line: int
    caption: str
    images: tuple[str, str]
    label: float | None
    user: str
    ranking: str
    models: tuple[str, str]


@dataclass(frozen=True)
class OwnTable:
    """What was read of a table.

    choices: every row, those with faults too. images: what the file system tells of each image that is there, by path;
    of one that the table holds, its size. faults: what is wrong with rows, as (line, sentence). holding: the table's
    names of the columns image_0 and image_1, where it holds images.
    """

    choices: list[Choice]
    images: dict[str, dict[str, Any]]
    faults: list[tuple[int, str]]
    holding: tuple[str, str] | None = None


def read_choices(
    table: Location,
    columns: Mapping[str, str] | None = None,
    *,
    roots: Sequence[str] = (),
    key: str = "data.table",
) -> OwnTable:
    """The choices of a table, and which of them cannot be used.

    Args:
        table: the file.
        columns: the table's names of columns, by the usual name.
        roots: folders below which its images may lie, beside its own.
        key: of the configuration that names it, for messages.

    Raises:
        UserError: the table is missing, cannot be read, lacks columns, or has lines that are no rows.
    """
    files = ImageFiles(table, roots, key)
    choices: list[Choice] = []
    faults: list[tuple[int, str]] = []
    no_rows: list[tuple[int, str]] = []
    called: dict[str, str] | None = None
    held: dict[str, dict[str, Any]] = {}
    for line, row in table_rows(table, key):
        if isinstance(row, str):
            no_rows.append((line, row))
            continue
        if called is None:
            called = _called(table, list(map(str, row)), columns or {}, key)
        values = {name: _text(row.get(own)) for name, own in called.items()}
        for name in ("image_0", "image_1"):
            value = row.get(called[name])
            data = held_image(value)
            if data is not None:
                values[name] = f"{table.path}#{'-'.join(filter(None, [values[name], image_uid(data)]))}"
                held[values[name]] = {"size": len(data)}
            elif isinstance(value, Mapping) and value.get("bytes"):
                no_rows.append((line, f"{called[name]} holds an image as text; a parquet table can hold images"))
        faults += [(line, fault) for fault in _faults(values, called)]
        choices.append(_choice(files, line, values, held))
    refuse(table, no_rows)
    if called is None:
        raise UserError(f"{table.url}: holds no rows")
    found, missing = files.find(name for choice in choices for name in choice.images if name and name not in held)
    for choice in choices:
        faults += [(choice.line, missing[name]) for name in dict.fromkeys(choice.images) if name in missing]
    return OwnTable(choices, held | found, faults, (called["image_0"], called["image_1"]) if held else None)


def held_image(value: Any) -> bytes | None:
    """The image that a cell of a parquet table holds, as bytes or as a struct of bytes and path; None if none."""
    data = value.get("bytes") if isinstance(value, Mapping) else value
    return data if isinstance(data, bytes) and data else None


def _called(table: Location, header: Sequence[str], columns: Mapping[str, str], key: str) -> dict[str, str]:
    """The table's name of each usual column that it has; chosen and rejected stand for image_0 and image_1.

    Raises:
        UserError: `columns` names none of the usual columns or none of the table's, or columns are lacking.
    """
    known = dict.fromkeys((*COLUMNS, *ORDERED, *FURTHER))
    unknown = [name for name in columns if name not in known]
    absent = [own for own in columns.values() if own not in header]
    if unknown or absent:
        raise UserError(
            [f"data.columns: there is no column {name} to name; the columns are {', '.join(known)}" for name in unknown]
            + [f"data.columns: {table.url} has no column {own}; it has {', '.join(header)}" for own in absent]
        )
    found: dict[str, str] = {}
    for name in known:
        names = (columns[name],) if name in columns else (name, *OTHER_NAMES.get(name, ()))
        own = next((own for own in names if own in header), None)
        if own is not None:
            found[name] = own
    ordered = {"chosen", "rejected"} <= found.keys() and not {"image_0", "image_1", "choice"} <= found.keys()
    lacking = [name for name in (ORDERED if ordered else COLUMNS) if name not in found]
    if lacking:
        hint = "" if ordered else "; chosen and rejected may stand for image_0, image_1 and choice"
        if key == "data.table":
            example = f"'data.columns={{{lacking[0]}: {header[0]}}}'"
            hint += f"; columns of other names are named by data.columns, such as {example}"
        raise UserError(f"{table.url}: lacks the columns {', '.join(lacking)}; it has {', '.join(header)}{hint}")
    if ordered:
        found |= {"image_0": found["chosen"], "image_1": found["rejected"]}
        found.pop("choice", None)
    return {name: own for name, own in found.items() if name not in ("chosen", "rejected")}


def _text(value: Any) -> str:
    """What a cell says; of a struct of bytes and path, the path."""
    said = value.get("path") if isinstance(value, Mapping) else None if isinstance(value, bytes) else value
    return "" if said is None else str(said).strip()


def refuse(table: Location, faults: Iterable[tuple[int, str]]) -> None:
    """Raise a `UserError` that names the first of these faults (line, sentence) and counts them; none is no error."""
    messages = [f"{table.url}: line {line}: {fault}" for line, fault in sorted(faults)]
    if len(messages) > FAULTS_NAMED:
        messages[FAULTS_NAMED:] = [f"{table.url}: and {len(messages) - FAULTS_NAMED} faults more"]
    if messages:
        raise UserError(messages)


def _faults(values: Mapping[str, str], called: Mapping[str, str]) -> list[str]:
    """What is wrong with a row for itself.

    Args:
        called: the table's names of its columns.
    """
    faults = [f"{called[name]} is empty" for name in ("caption", "image_0", "image_1", "user") if not values.get(name)]
    if values.get("image_0") and values.get("image_0") == values.get("image_1"):
        faults.append(f"{called['image_0']} and {called['image_1']} are both {quoted(values['image_0'])}")
    if _choice_key(values) not in LABELS:
        faults.append(f"{called['choice']} must be 0, 1 or tie, not {values.get('choice', '')!r}")
    return faults


def _choice(files: ImageFiles, line: int, values: Mapping[str, str], held: Collection[str]) -> Choice:
    first, second = (
        name if not name or name in held else files.named(name)
        for name in (values.get("image_0", ""), values.get("image_1", ""))
    )
    return Choice(
        line,
        values.get("caption", ""),
        (first, second),
        LABELS.get(_choice_key(values)),
        values.get("user", ""),
        values.get("ranking", ""),
        (values.get("model_0", ""), values.get("model_1", "")),
    )


def _choice_key(values: Mapping[str, str]) -> str:
    """The choice; 0, the first, where the columns say which image was chosen."""
    return values.get("choice", "0").lower().removesuffix(".0")  # a column with gaps is one of floats to many writers


Row = tuple[int, Mapping[str, Any] | str]
"""The line, and what stands there by column; or what is wrong with the line."""


def table_rows(table: Location, key: str) -> Iterator[Row]:
    """Every row of a table; arguments and faults as of `read_choices`."""
    readers = {".csv": _csv_rows, ".jsonl": _json_rows, ".parquet": _parquet_rows}
    reader = readers.get(posixpath.splitext(table.path)[1].lower())
    if reader is None:
        raise UserError(f"{key}: {table.url} is none of {', '.join(readers)}")
    if table.is_local:
        require_file(table.path, key)
    try:
        file = table.system.open(table.path, "rb")
    except (FileNotFoundError, IsADirectoryError):
        raise UserError(f"{key}: there is no file {table.url}") from None
    except Exception as error:  # each file system has its own
        raise table.unreachable(error) from error
    with file:
        try:
            yield from reader(file)
        except UnicodeDecodeError as error:
            raise UserError(f"{table.url}: is no UTF-8 text ({error}); save it as UTF-8") from error
        except (csv.Error, OSError, ValueError) as error:  # pyarrow's are among these
            raise UserError(f"{table.url}: damaged, or not what its name says ({first_line(error)})") from error


def _csv_rows(file: Any) -> Iterator[Row]:
    reader = csv.DictReader(io.TextIOWrapper(file, "utf-8-sig", newline=""), restkey="\0", strict=True)
    for row in reader:
        more = "\0" in row
        yield reader.line_num, "has more fields than the header; put a text with commas in quotes" if more else row


def _json_rows(file: Any) -> Iterator[Row]:
    for line, text in enumerate(io.TextIOWrapper(file, "utf-8-sig"), 1):
        if not text.strip():
            continue
        try:
            row = json.loads(text)
            yield line, row if isinstance(row, dict) else "is no JSON object"
        except ValueError as error:
            yield line, f"is no JSON ({first_line(error)})"


def _parquet_rows(file: Any) -> Iterator[Row]:
    try:
        import pyarrow as pa  # where this is read in an export, it need not be installed
        import pyarrow.parquet as pq
    except ImportError:
        raise UserError("a table in parquet is read by pyarrow, which is not installed; save it as CSV") from None

    def holds_bytes(kind: pa.DataType) -> bool:
        stored = kind.value_type if pa.types.is_dictionary(kind) else kind
        return bool(pa.types.is_binary(stored) or pa.types.is_large_binary(stored))

    opened = pq.ParquetFile(file, buffer_size=PIECE)
    texts = not any(pa.types.is_nested(kind) or holds_bytes(kind) for kind in opened.schema_arrow.types)
    batches = opened.iter_batches(TEXT_ROWS if texts else IMAGE_ROWS, use_threads=False)
    yield from enumerate((row for batch in batches for row in batch.to_pylist()), 1)
