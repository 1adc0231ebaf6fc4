"""Answers of a judge, kept for ever: nothing is asked or paid twice.

Each process that asks appends to a file of its own, a line an answer, so a kill tears one line off at most, which is
then asked again, and no file has two writers.
"""

from __future__ import annotations

import json
import logging
import os
import uuid
from collections.abc import Iterator
from contextlib import AbstractContextManager
from dataclasses import asdict, dataclass
from pathlib import Path
from types import TracebackType
from typing import IO

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Answer:
    """What a judge said.

    input_tokens, output_tokens: as the model's server counts them, or what they may be at most where it does not.
    seconds: it took. finish: why it ended there, in the server's word, such as stop or length.
    """

    text: str
    input_tokens: int
    output_tokens: int
    seconds: float
    finish: str = ""


class Answers(AbstractContextManager["Answers"]):
    """The answers of one model, by the key of what was asked.

    Args:
        folder: of their files, which need not be there.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._kept: dict[str, Answer] = {}
        self._file: IO[bytes] | None = None
        torn = 0
        for path in sorted(folder.glob("answers-*.jsonl")):
            for line in path.read_bytes().splitlines():
                try:
                    told = json.loads(line)
                    key = told.pop("key")
                    self._kept[key] = Answer(**told)
                except (ValueError, TypeError, KeyError, AttributeError):
                    torn += 1
        if torn:
            log.info("%s: %d lines are cut off or damaged; what they answered is asked again", folder, torn)

    def __len__(self) -> int:
        return len(self._kept)

    def __iter__(self) -> Iterator[Answer]:
        return iter(self._kept.values())

    def get(self, key: str) -> Answer | None:
        """The answer of that key, where there is one."""
        return self._kept.get(key)

    def keep(self, key: str, answer: Answer) -> None:
        """Write an answer down; when this returns, no kill can take it away."""
        if self._file is None:
            self.folder.mkdir(parents=True, exist_ok=True)
            self._file = (self.folder / f"answers-{uuid.uuid4().hex[:12]}.jsonl").open("xb", buffering=0)
        self._file.write(json.dumps({"key": key, **asdict(answer)}).encode() + b"\n")
        os.fsync(self._file.fileno())
        self._kept[key] = answer

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._file is not None:
            self._file.close()
