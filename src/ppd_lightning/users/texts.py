"""Tables of texts about users."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.csv
import pyarrow.json
import pyarrow.parquet

from ppd_lightning.errors import UserError

COLUMNS = ("user", "text")


def read_texts(path: Path, key: str = "user.texts") -> dict[str, str]:
    """The text of each user, by name.

    Args:
        path: JSON of names and texts, or a CSV (with a header), JSONL or parquet table with the columns user and text.
        key: of the configuration that names it, for messages.

    Raises:
        UserError: the file is missing, damaged or has another form, a text is empty, or a user comes twice.
    """
    expected = "expected JSON of names and texts, or a CSV, JSONL or parquet table with the columns user and text"
    try:
        rows = _rows(path)
    except FileNotFoundError:
        raise UserError(f"{key}: there is no file {path}; {expected}") from None
    except (OSError, ValueError, KeyError, TypeError, AttributeError, pa.ArrowException) as error:
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise UserError(f"{key}: {path} cannot be read ({reason}); {expected}") from None
    faults, texts = [], {}
    for number, (user, text) in enumerate(rows, 1):
        name = str(user)
        if user is None or not isinstance(text, str) or not text.strip():
            faults.append(f"{key}: {path}, row {number}: no text of the user {name}")
        elif name in texts:
            faults.append(f"{key}: {path}, row {number}: the user {name} comes twice")
        else:
            texts[name] = text
    if faults:
        raise UserError(faults[:10])
    return texts


def _rows(path: Path) -> list[tuple[Any, Any]]:
    kind = path.suffix.lower()
    if kind == ".json":
        return list(json.loads(path.read_text(encoding="utf-8")).items())
    if kind == ".csv":
        options = pyarrow.csv.ConvertOptions(
            column_types=dict.fromkeys(COLUMNS, pa.string()), strings_can_be_null=False
        )
        newlines = pyarrow.csv.ParseOptions(newlines_in_values=True)
        table = pyarrow.csv.read_csv(path, convert_options=options, parse_options=newlines)
    elif kind in (".jsonl", ".ndjson"):
        table = pyarrow.json.read_json(path)
    elif kind == ".parquet":
        table = pyarrow.parquet.read_table(path)
    else:
        raise ValueError(f"files that end in {kind or 'nothing'} are not read")
    return list(zip(*(table[column].to_pylist() for column in COLUMNS), strict=True))
