"""A source from outside of the package: two-alternative choices as JSONL, images by file URL. One class, one YAML."""

from __future__ import annotations

import datetime
import json
import zlib
from pathlib import Path
from urllib.parse import unquote, urlparse

import pyarrow as pa
import pyarrow.parquet as pq

from ppd_lightning.data.parquet_files import ParquetFiles
from ppd_lightning.data.pickapic import SCHEMA
from ppd_lightning.data.source import PeopleSource
from ppd_lightning.settings.part import settings
from ppd_lightning.storage.atomic import atomic_path


@settings
class JsonlSource(PeopleSource):
    """A line a choice: {"prompt": ..., "urls": [A, B], "choice": 0 or 1, "annotator": ...}."""

    file: str
    """The JSONL file."""

    def make(self, folder: Path, output: Path) -> None:
        """Write the choices as parquet."""
        lines = [json.loads(line) for line in Path(self.file).read_text().splitlines()]
        with atomic_path(folder / "source/choices.parquet") as path:
            pq.write_table(pa.Table.from_pylist([_row(*line) for line in enumerate(lines)], SCHEMA), path)

    def parquet(self, folder: Path) -> ParquetFiles:
        """What `make` writes."""
        return ParquetFiles(str(folder / "source"))

    def description(self) -> str:
        """See the base class."""
        return "Two-alternative choices from a JSONL file."


def _row(number: int, line: dict) -> dict:
    first = line["choice"] == 0
    row = dict.fromkeys(SCHEMA.names) | {
        "caption": line["prompt"],
        "created_at": datetime.datetime(2024, 1, 1),
        "has_label": True,
        "label_0": float(first),
        "label_1": float(not first),
        "ranking_id": number,
        "user_id": zlib.crc32(line["annotator"].encode()),
    }
    for side, url in enumerate(line["urls"]):
        row |= {f"image_{side}_uid": url, f"jpg_{side}": Path(unquote(urlparse(url).path)).read_bytes()}
    return row
