"""One reader of YAML files: what people wrote by hand, and what came from somewhere else."""

from __future__ import annotations

import io
import os
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml
from omegaconf import DictConfig, ListConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from ppd_lightning.errors import UserError

LARGEST = 4_000_000
"""Bytes of a file."""
DEEPEST = 40
"""Nested lists and mappings."""
MOST_REPEATED = 10_000
"""Values that aliases may stand for, together: a few lines of aliases of aliases stand for more than memory holds."""


def read_yaml(path: Path) -> DictConfig | ListConfig:
    """The values of a file; interpolations are left as they are.

    Raises:
        UserError: it is no readable file of YAML, with the line; or it would stand for absurdly many values.
    """
    text = yaml_text(path)
    try:
        _require_modest(text, path)
        values = OmegaConf.load(io.StringIO(text))
    except UserError:
        raise
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        where = f"{path}, line {mark.line + 1}" if mark is not None else str(path)
        raise UserError(f"{where}: cannot be read as YAML ({error.problem or error.context})") from error
    except OmegaConfBaseException as error:
        raise UserError(f"{path}: cannot be read ({' '.join(str(error).split())})") from error
    except Exception as error:  # a number of thousands of digits, a date that is none: each has its own
        words = " ".join(str(error).split()) or type(error).__name__
        raise UserError(f"{path}: cannot be read as YAML ({words})") from error
    return values


def yaml_text(path: Path) -> str:
    """The text of a file, without a byte order mark.

    Raises:
        UserError: it is no regular file, is too large, or holds no UTF-8.
    """
    try:
        status = os.stat(path)
    except OSError as error:
        link = "a link to nothing" if path.is_symlink() and not path.exists() else (error.strerror or str(error))
        raise UserError(f"{path}: cannot be read ({link})") from error
    if not stat.S_ISREG(status.st_mode):
        raise UserError(f"{path}: cannot be read (it is a {_kind(status.st_mode)}; a file of YAML was expected)")
    if status.st_size > LARGEST:
        raise UserError(f"{path}: has {status.st_size:,} bytes; settings have at most {LARGEST:,}")
    try:
        return path.read_bytes().decode("utf-8-sig")
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror})") from error
    except UnicodeDecodeError as error:
        line = error.object[: error.start].count(b"\n") + 1
        raise UserError(f"{path}, line {line}: is no text in UTF-8; save it in that encoding") from error


def _kind(mode: int) -> str:
    return "folder" if stat.S_ISDIR(mode) else "pipe" if stat.S_ISFIFO(mode) else "special file"


def _require_modest(text: str, path: Path) -> None:
    """Go through the file piece by piece, before anything is made of it.

    Raises:
        UserError: it is nested too deeply, holds itself, or its aliases stand for too many values.
        yaml.YAMLError: it is no YAML.
    """
    sizes: dict[str, int] = {}
    open_nodes: list[list[Any]] = []  # anchor and number of values so far of each list or mapping around
    repeated = 0
    for event in _events(text):
        where = f"{path}, line {event.start_mark.line + 1}"
        size = 1
        if isinstance(event, yaml.AliasEvent):
            name = event.anchor
            if any(anchor == name for anchor, _ in open_nodes):
                raise UserError(f"{where}: *{name} stands inside of what it stands for; write the values out")
            size = sizes.get(name, 1)  # an alias of nothing is found by the reader
            repeated += size
            if repeated > MOST_REPEATED:
                raise UserError(
                    f"{where}: aliases up to *{name} stand for more than {MOST_REPEATED:,} values; write them out"
                )
        elif isinstance(event, yaml.CollectionStartEvent):
            open_nodes.append([event.anchor, 1])
            if len(open_nodes) > DEEPEST:
                raise UserError(f"{where}: lists and mappings are nested more than {DEEPEST} deep; settings never are")
            continue
        elif isinstance(event, yaml.CollectionEndEvent):
            anchor, size = open_nodes.pop()
            if anchor is not None:
                sizes[anchor] = size
        elif isinstance(event, yaml.ScalarEvent):
            if event.anchor is not None:
                sizes[event.anchor] = 1
        else:
            continue
        if open_nodes:
            open_nodes[-1][1] += size


def _events(text: str) -> Iterator[yaml.Event]:
    events: Iterator[yaml.Event] = yaml.parse(text, Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader))
    return events
