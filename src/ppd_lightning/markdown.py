"""Texts of others (names, captions, settings) in Markdown, where they must be text and nothing else."""

from __future__ import annotations

import re

from ppd_lightning.masking import for_sharing

LONGEST = 120
"""Letters of a text within a line; the rest is left out."""

HARMLESS = re.compile(r"(?:[^\W_]|[ .,=:;()%+-]|_+(?=[^\W_]))*")
"""Texts that mean nothing to Markdown within a line."""


def words(text: str) -> str:
    """The text within a sentence or a cell of a table: one line, what means something to Markdown as an entity."""
    line = _line(text)
    return line if HARMLESS.fullmatch(line) else _entities(line)


def code(text: str) -> str:
    """The text as a name in code within a sentence or a cell of a table."""
    line = _line(text)
    if line and not set("`|").intersection(line):
        return f"`{line}`"
    return f"<code>{_entities(line)}</code>"


def fenced(text: str, language: str = "") -> str:
    """Lines as a block of code, whatever they hold."""
    longest = max((len(run) for run in re.findall("`+", text)), default=0)
    fence = "`" * max(3, longest + 1)
    return f"{fence}{language}\n{for_sharing(text).rstrip()}\n{fence}"


def _line(text: str) -> str:
    line = for_sharing(" ".join(text.split()))
    return line if len(line) <= LONGEST else f"{line[: LONGEST - 3]}..."


def _entities(text: str) -> str:
    return re.sub(r"[!-/:-@\[-`{-~]", lambda found: f"&#{ord(found[0])};", text)
