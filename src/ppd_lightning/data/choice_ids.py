"""Names that stand for a choice: who chose between which pictures, asked for what."""

from __future__ import annotations

import hashlib

from ppd_lightning.data.own_table import Choice


def image_uid(data: bytes) -> str:
    """32 hex digits that stand for an image's content."""
    return hashlib.blake2b(data, digest_size=16).hexdigest()


def ranking_id(choice: Choice) -> int:
    """63 bits of the ranking's name; where there is none, what a person was asked for one caption is one ranking."""
    name = ["ranking", choice.ranking] if choice.ranking else ["caption", choice.user, choice.caption]
    return int.from_bytes(hashlib.blake2b("\0".join(name).encode(), digest_size=8).digest(), "little") >> 1


def pair_id(user: str, ranking: int, caption: str, image_0: str, image_1: str) -> str:
    """16 hex digits that do not depend on which of the two images stands first, nor on the label."""
    first, second = (image_0, image_1) if image_0 < image_1 else (image_1, image_0)
    text = f"{user}\0{ranking}\0{caption}\0{first}\0{second}"
    return hashlib.blake2b(text.encode(), digest_size=8).hexdigest()
