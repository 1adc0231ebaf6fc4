"""The ids of pairs and images: the same for Pick-a-Pic's rows, one's own table, and choices of new people."""

from __future__ import annotations

import hashlib


def pair_id(user: str, ranking: int, caption: str, image_0: str, image_1: str) -> str:
    """16 hex digits that do not depend on which of the two images stands first, nor on the label."""
    first, second = (image_0, image_1) if image_0 < image_1 else (image_1, image_0)
    text = f"{user}\0{ranking}\0{caption}\0{first}\0{second}"
    return hashlib.blake2b(text.encode(), digest_size=8).hexdigest()


def image_uid(data: bytes) -> str:
    """32 hex digits that stand for an image's content."""
    return hashlib.blake2b(data, digest_size=16).hexdigest()


def ranking_id(ranking: str, user: str, caption: str) -> int:
    """63 bits of the ranking's name; where there is none, what a person was asked for one caption is one ranking."""
    name = ["ranking", ranking] if ranking else ["caption", user, caption]
    return int.from_bytes(hashlib.blake2b("\0".join(name).encode(), digest_size=8).digest(), "little") >> 1
