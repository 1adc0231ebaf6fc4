"""The names of the concepts that ship: the captions of the embedded world."""

from __future__ import annotations

from pathlib import Path

from ppd_lightning.errors import UserError


def shipped_concepts(count: int) -> list[str]:
    """The first `count` concepts of the shipped list.

    Raises:
        UserError: the list is shorter.
    """
    names = (Path(__file__).with_name("concepts.txt")).read_text(encoding="utf-8").split("\n")
    names = [name for name in names if name and not name.startswith("#")]
    if not 0 < count <= len(names):
        raise UserError(f"data.concepts: {count} asked for, the shipped list holds {len(names)}")
    return names[:count]
