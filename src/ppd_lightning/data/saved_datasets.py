"""Folders that Hugging Face `datasets` saved: which files hold the rows, and what numbers of class labels stand for.

`save_to_disk` writes Arrow streams (`data-00000-of-00002.arrow`), `state.json`, which lists them, and
`dataset_info.json`; of several splits, a folder each and `dataset_dict.json`. Nothing of `datasets` is needed to read
them.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import IO, TYPE_CHECKING, Any

from ppd_lightning.data.remote import Location
from ppd_lightning.errors import UserError

if TYPE_CHECKING:
    import pyarrow as pa

STATE, SPLITS = "state.json", "dataset_dict.json"

JSON_BYTES = 64 << 20

END = b"\xff\xff\xff\xff\0\0\0\0"
"""The end of an Arrow stream; one that was cut off between two batches would pass for a shorter one."""


def saved_files(folder: Location) -> list[str]:
    """The files of a saved data set by name, in the order of its rows.

    Raises:
        UserError: `state.json` is damaged, or says that the rows are not as the files hold them.
    """
    state = _read(folder, STATE)
    try:
        names = [str(file["filename"]) for file in state["_data_files"]]
    except (KeyError, TypeError):
        raise UserError(f"{folder.url}/{STATE}: names no data files; save the data set again") from None
    outside = [name for name in names if "/" in name or name in (".", "..")]
    if outside:
        raise UserError(f"{folder.url}/{STATE}: {outside[0]} is no file of this folder; save the data set again")
    if state.get("_indices_data_files"):
        raise UserError(f"{folder.url}: its rows are chosen by indices; flatten_indices() and save it again")
    return names


def split_names(folder: Location) -> list[str]:
    """The splits of a saved `DatasetDict`, each a folder.

    Raises:
        UserError: `dataset_dict.json` is damaged.
    """
    splits = _read(folder, SPLITS).get("splits")
    if not isinstance(splits, list) or not splits or any("/" in str(name) or str(name) in "..." for name in splits):
        raise UserError(f"{folder.url}/{SPLITS}: names no splits; save the data set again")
    return [str(name) for name in splits]


def class_names(schema: pa.Schema) -> dict[str, list[str]]:
    """The names that the numbers of columns of class labels stand for, as the schema's metadata say."""
    try:
        features = json.loads((schema.metadata or {})[b"huggingface"])["info"]["features"]
        labels = {name: feature for name, feature in features.items() if feature.get("_type") == "ClassLabel"}
        return {name: [str(one) for one in feature["names"]] for name, feature in labels.items()}
    except (KeyError, TypeError, ValueError, AttributeError, RecursionError):
        return {}  # written by something else


def label_of(names: Sequence[str], value: Any) -> Any:
    """The name of a class by its number; nothing for the number of those without one."""
    if isinstance(value, int) and not isinstance(value, bool) and value < len(names):
        return names[value] if value >= 0 else None
    return value


def arrow_batches(file: IO[bytes]) -> tuple[pa.Schema, Iterator[pa.RecordBatch]]:
    """The schema of an Arrow file or stream, and what it holds.

    Raises:
        OSError, ValueError: it is damaged, is none, or has no end.
    """
    import pyarrow as pa

    if file.read(6) == b"ARROW1":
        file.seek(0)
        opened = pa.ipc.open_file(file)
        batches: Iterator[pa.RecordBatch] = map(opened.get_batch, range(opened.num_record_batches))
    else:
        size = file.seek(0, 2)
        file.seek(max(0, size - len(END)))
        if file.read() != END:
            raise ValueError("it has no end: a part is missing")
        file.seek(0)
        opened = pa.ipc.open_stream(file)
        batches = iter(opened)
    return opened.schema, batches


def in_pieces(batches: Iterable[pa.RecordBatch], columns: Sequence[str], rows: int) -> Iterator[pa.RecordBatch]:
    """Some columns of record batches, at most `rows` rows at once."""
    for batch in batches:
        chosen = batch.select(list(columns))
        for begin in range(0, len(batch), rows):
            yield chosen.slice(begin, rows)


def _read(folder: Location, name: str) -> Mapping[str, Any]:
    try:
        with folder.system.open(f"{folder.path}/{name}", "rb") as file:
            data = file.read(JSON_BYTES)
    except Exception as error:  # each file system has its own
        raise folder.unreachable(error) from error
    try:
        read = json.loads(data)
    except (ValueError, RecursionError):
        read = None
    if not isinstance(read, dict):
        raise UserError(f"{folder.url}/{name}: is damaged; save the data set again")
    return read
