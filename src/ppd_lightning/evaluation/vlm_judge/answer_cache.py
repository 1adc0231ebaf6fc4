"""The cache of a judge's answers: nothing is asked or paid twice.

Each process appends to a file of its own, a line an answer, so a kill truncates one line at most, which is then asked
again, and no file has two writers.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
import uuid
from collections.abc import Iterator
from contextlib import AbstractContextManager
from dataclasses import asdict, dataclass
from pathlib import Path
from types import TracebackType
from typing import IO, Any

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Answer:
    """What a judge answered.

    input_tokens, output_tokens: as the model's server counts them, or what they may be at most where it does not.
    seconds: it took. finish: why it ended there, in the server's word, such as stop or length.
    """

    text: str
    input_tokens: int
    output_tokens: int
    seconds: float
    finish: str = ""


class AnswerCache(AbstractContextManager["AnswerCache"]):
    """The answers of one model, by the key of what was asked.

    Args:
        folder: of its files, which need not exist.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._answers: dict[str, Answer] = {}
        self._file: IO[bytes] | None = None
        damaged = 0
        for path in sorted(folder.glob("answers-*.jsonl")):
            for line in path.read_bytes().splitlines():
                try:
                    fields = json.loads(line)
                    if (expected := fields.pop("sha256", None)) is not None and expected != _checksum(fields):
                        raise ValueError("its checksum differs")
                    key = fields.pop("key")
                    self._answers[key] = Answer(**fields)
                except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
                    damaged += 1
        if damaged:
            log.warning("%s: %d lines are truncated or damaged; those answers are asked for again", folder, damaged)

    def __len__(self) -> int:
        return len(self._answers)

    def __iter__(self) -> Iterator[Answer]:
        return iter(self._answers.values())

    def get(self, key: str) -> Answer | None:
        """The answer of that key, where there is one."""
        return self._answers.get(key)

    def add(self, key: str, answer: Answer) -> None:
        """Write an answer to disk; when this returns, no kill can take it away."""
        if self._file is None:
            self.folder.mkdir(parents=True, exist_ok=True)
            self._file = (self.folder / f"answers-{uuid.uuid4().hex[:12]}.jsonl").open("xb", buffering=0)
        fields = {"key": key, **asdict(answer)}
        self._file.write(json.dumps(fields | {"sha256": _checksum(fields)}).encode() + b"\n")
        os.fsync(self._file.fileno())
        self._answers[key] = answer

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._file is not None:
            self._file.close()


def _checksum(fields: dict[str, Any]) -> str:
    """Of an answer's line: a flipped letter of it is asked again instead of being believed."""
    return hashlib.sha256(json.dumps(fields, sort_keys=True).encode()).hexdigest()[:16]
