"""Choices of people who are not in the data: from a table, or from pictures in memory."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from PIL import Image

from ppd_lightning.data.image_files import quoted, read_file
from ppd_lightning.data.own_table import OwnTable, read_choices
from ppd_lightning.data.pair_ids import image_uid, pair_id, ranking_id
from ppd_lightning.data.pictures import eight_bit, open_picture, upright
from ppd_lightning.data.remote import Location
from ppd_lightning.data.table_cells import caption_of
from ppd_lightning.data.table_images import TableImages
from ppd_lightning.data.table_parts import open_table
from ppd_lightning.data.table_rows import refuse
from ppd_lightning.errors import UserError

log = logging.getLogger(__name__)

Picture = Image.Image | str | Path
"""A picture, or the file of one."""


@dataclass(frozen=True)
class NewChoice:
    """A choice between two pictures of any size and mode.

    pair_id: 16 hex digits that stand for who chose between what for which caption, whichever was preferred.
    preferred_uid: hex digits that stand for the content of the preferred picture.
    """

    pair_id: str
    caption: str
    preferred: Image.Image
    other: Image.Image
    preferred_uid: str


def choices_of_table(table: str, key: str, roots: Sequence[str] = ()) -> dict[str, list[NewChoice]]:
    """The usable choices of each person of a table, in the table's order; its form is that of `data.own_table`.

    Ties tell nothing and are left out. So are pairs that somebody decided both ways, with a warning; what is there
    twice counts once. A pair has the id that preparing the table would give it.

    Args:
        table: the file's path or fsspec URL.
        key: of the configuration that names it, for messages.
        roots: folders below which its images may lie, beside its own.

    Raises:
        UserError: the table cannot be read, rows have faults (the first are named, the others counted), or somebody has
            no choice that tells anything.
    """
    file = open_table(table, key)
    read = read_choices(file, roots=roots, key=key)
    refuse(file, read.faults)
    content, pictures = pictures_of(file, read, key)
    uids = {name: image_uid(data) for name, data in content.items()}
    people: dict[str, list[NewChoice]] = {}
    for choice in read.choices:
        own = people.setdefault(choice.user, [])
        if choice.label == 0.5:
            continue
        liked, other = choice.images if choice.label == 1 else choice.images[::-1]
        ranking = ranking_id(choice.ranking, choice.user, choice.caption)
        pair = pair_id(choice.user, ranking, choice.caption, uids[liked], uids[other])
        own.append(NewChoice(pair, choice.caption, pictures[liked], pictures[other], uids[liked]))
    return usable(people)


def pictures_of(file: Location, read: OwnTable, key: str) -> tuple[dict[str, bytes], dict[str, Image.Image]]:
    """What is in the images' files, and the pictures, both by the images' names in the table.

    Raises:
        UserError: a picture cannot be read; the lines of the first are named.
    """
    content, broken = TableImages(file, read, key).of(read.choices)
    pictures: dict[str, Image.Image] = {}
    for name, data in content.items():
        try:
            pictures[name] = open_picture(data)
        except UserError as error:
            broken[name] = f"{quoted(name)} {error}"
    refuse(file, [(choice.line, broken[name]) for choice in read.choices for name in choice.images if name in broken])
    return content, pictures


def choices_of_pictures(user: str, choices: Sequence[tuple[str, Picture, Picture]]) -> list[NewChoice]:
    """The usable ones of a person's choices: caption, preferred picture, other picture; see `choices_of_table`.

    Raises:
        UserError: a file is missing or no image, a caption is empty, or no choice tells anything.
    """
    return usable({user: read_pictures(user, choices)})[user]


def read_pictures(user: str, choices: Sequence[tuple[str, Picture, Picture]], word: str = "choice") -> list[NewChoice]:
    """All of a person's choices; see `choices_of_pictures`.

    Args:
        word: for what messages call one of them.

    Raises:
        UserError: a file is missing or no image, or a caption is empty.
    """
    made, faults = [], []
    for number, (caption, preferred, other) in enumerate(choices, 1):
        opened = []
        for picture in (preferred, other):
            try:
                opened.append(_opened(picture))
            except UserError as error:
                faults += [f"{word} {number}: {fault}" for fault in error.faults]
        try:
            said = caption_of(caption)
        except ValueError as error:
            faults.append(f"{word} {number}: its caption {error}")
            continue
        if not said:
            faults.append(f"{word} {number}: its caption is empty")
        if len(opened) == 2:
            (first, first_uid), (second, second_uid) = opened
            text = "\0".join([user, said, *sorted([first_uid, second_uid])])
            pair = hashlib.blake2b(text.encode(), digest_size=8).hexdigest()
            made.append(NewChoice(pair, said, first, second, first_uid))
    if faults:
        raise UserError(faults)
    return made


def usable(people: Mapping[str, Sequence[NewChoice]]) -> dict[str, list[NewChoice]]:
    """The choices of each person, each pair once, without those that were decided both ways.

    Raises:
        UserError: somebody has none; all of them are named.
    """
    kept: dict[str, list[NewChoice]] = {}
    faults = []
    for name, own in people.items():
        preferred: dict[str, set[str]] = {}
        for one in own:
            preferred.setdefault(one.pair_id, set()).add(one.preferred_uid)
        both_ways = {pair for pair, uids in preferred.items() if len(uids) > 1}
        once = {one.pair_id: one for one in reversed(own) if one.pair_id not in both_ways}
        kept[name] = list(reversed(once.values()))
        if both_ways and kept[name]:
            log.warning("%s: %d pairs were decided both ways and are left out", name, len(both_ways))
        if not kept[name]:
            why = "each pair was decided both ways" if own else "every choice is a tie"
            faults.append(f"{name}: nothing tells what this person prefers, for {why}; add a choice")
    if faults:
        raise UserError(faults)
    return kept


def _opened(picture: Picture) -> tuple[Image.Image, str]:
    """A picture, decoded, and hex digits for its content."""
    if isinstance(picture, Image.Image):
        header = f"{picture.mode}{picture.size}".encode()
        try:
            uid = image_uid(header + picture.tobytes())
            return upright(eight_bit(picture)), uid
        except (OSError, SyntaxError) as error:  # a file that was opened, not yet decoded
            raise UserError(f"a picture in memory cannot be decoded ({error})") from None
    try:
        data = read_file(picture)
        return open_picture(data), image_uid(data)
    except UserError as error:
        raise UserError(f"{quoted(str(picture))}: {error}") from None
