"""The pairs that visitors choose between: a table of one's own, or pictures that the model draws for people it knows.

P = people, E = width of an embedding.
"""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from PIL import Image

from ppd_lightning.data.own_table import read_choices
from ppd_lightning.data.pictures import open_picture
from ppd_lightning.data.prepared import PreparedData
from ppd_lightning.data.splits import choose_count
from ppd_lightning.data.table_parts import open_table
from ppd_lightning.data.table_rows import refuse
from ppd_lightning.errors import UserError
from ppd_lightning.storage.atomic import atomic_path
from ppd_lightning.studio.model import StudioModel
from ppd_lightning.users.new_choices import pictures_of

NAME = "pairs.parquet"
POLES = 6
"""People who are far apart, for whom pairs are drawn."""
MOST = 2_000
"""Pairs of a table that are shown; all lie in memory."""
Side = tuple[str, int]
"""For whom a picture is drawn ("" is the base), and with which seed."""


@dataclass(frozen=True)
class Shown:
    """A pair that can be shown. files: its pictures as they are stored; models: what drew them, where that is known."""

    caption: str
    pictures: tuple[Image.Image, Image.Image]
    files: tuple[bytes, bytes]
    models: tuple[str, str]


def read_pairs(table: str, key: str) -> list[Shown]:
    """The pairs of a table, each once, in its order; what it says of choices and users does not count.

    Raises:
        UserError: the table cannot be read, a picture cannot be seen, or there are fewer than two or too many pairs.
    """
    file = open_table(table, key)
    read = read_choices(file, key=key)
    refuse(file, read.faults)
    content, pictures = pictures_of(file, read, key)
    unique = {(choice.caption, *sorted(choice.images)): choice for choice in reversed(read.choices)}
    chosen = list(reversed(unique.values()))
    if not 2 <= len(chosen) <= MOST:
        raise UserError(f"{key}: {len(chosen)} different pairs; the studio shows 2 to {MOST:,}")
    return [
        Shown(
            one.caption,
            (pictures[one.images[0]], pictures[one.images[1]]),
            (content[one.images[0]], content[one.images[1]]),
            one.models,
        )
        for one in chosen
    ]


def draw_pairs(model: StudioModel, captions: Sequence[str], count: int, path: Path) -> None:
    """Write a table of pairs: each one caption and noise, drawn for two people who are far apart, or by two noises.

    Pairs whose pictures differ less than half as much as those of the usual pair are left out: nobody could choose.

    Raises:
        UserError: a caption cannot be drawn.
    """
    contrasts = list(combinations(poles(model.known, POLES), 2))
    wanted: list[tuple[str, tuple[Side, Side]]] = []
    for number in range(count):
        seed, row = divmod(number, len(captions))
        if contrasts:
            one, other = contrasts[(row + seed) % len(contrasts)]
            wanted.append((captions[row], ((one, seed), (other, seed))))
        else:
            wanted.append((captions[row], (("", 2 * seed), ("", 2 * seed + 1))))
    asked: dict[Side, dict[str, bytes]] = {}
    for caption, sides in wanted:
        for side in sides:
            asked.setdefault(side, {})[caption] = b""
    for (name, seed), own in asked.items():
        images = model.draw(list(own), model.known[name] if name else None, seed, model.guidance)
        own.update(zip(own, map(png, images), strict=True))
    differences = np.array([_difference(*(asked[side][caption] for side in sides)) for caption, sides in wanted])
    wanted = [one for one, far in zip(wanted, differences >= np.median(differences) / 2, strict=True) if far]
    rows = []
    for caption, sides in wanted:
        names = [f"drawn for {name}" if name else "base" for name, _ in sides]
        rows.append((caption, (asked[sides[0]][caption], asked[sides[1]][caption]), (names[0], names[1])))
    write_pairs(path, rows)


def take_pairs(data: PreparedData, count: int, path: Path) -> None:
    """Write a table of pairs of a training's own data, by hash: none of a held-out caption.

    Raises:
        UserError: the data are gone.
    """
    held_out = set(data.captions(held_out=True))
    found = {
        (pair["caption"], pair["preferred"], pair["dispreferred"])
        for pair in data.read_pairs().select(["caption", "preferred", "dispreferred"]).to_pylist()
        if pair["caption"] not in held_out
    }
    by_name = {"\0".join(pair): pair for pair in found}
    chosen = [by_name[name] for name in sorted(choose_count("studio", by_name, min(count, len(by_name))))]
    table = data.images_table()
    wanted = pa.array(sorted({image for _, *images in chosen for image in images}))
    content = {
        image: stored
        for image, stored in data.stored_images(table.filter(pc.is_in(table["image_id"], value_set=wanted)))
        if stored is not None
    }
    write_pairs(
        path,
        [
            (caption, (content[one], content[other]), ("", ""))
            for caption, one, other in chosen
            if one in content and other in content
        ],
    )


def write_pairs(path: Path, rows: Sequence[tuple[str, tuple[bytes, bytes], tuple[str, str]]]) -> None:
    """Write pairs, each with its caption, the files of its pictures and what made these, as `read_pairs` reads them."""
    columns: dict[str, list[object]] = {"caption": [caption for caption, _, _ in rows]}
    columns |= {"choice": ["tie"] * len(rows), "user": ["nobody"] * len(rows)}
    for side in (0, 1):
        columns[f"image_{side}"] = [{"bytes": files[side], "path": None} for _, files, _ in rows]
        columns[f"model_{side}"] = [models[side] for _, _, models in rows]
    held = pa.struct({"bytes": pa.binary(), "path": pa.string()})
    types = {name: held if name.startswith("image") else pa.string() for name in columns}
    with atomic_path(path) as unfinished:
        pq.write_table(pa.table({name: pa.array(values, types[name]) for name, values in columns.items()}), unfinished)


def poles(known: Mapping[str, np.ndarray], count: int) -> list[str]:
    """At most `count` names, each far from those before it: the longest vector first, then always the furthest one.

    People of one vector are one.
    """
    names = sorted(known)
    if not names:
        return []
    vectors = np.stack([known[name] for name in names]).astype(np.float64)  # (P, E)
    chosen = [int(np.linalg.norm(vectors, axis=1).argmax())]
    distances = np.linalg.norm(vectors - vectors[chosen[0]], axis=1)
    while len(chosen) < count and distances.max() > 0:
        chosen.append(int(distances.argmax()))
        distances = np.minimum(distances, np.linalg.norm(vectors - vectors[chosen[-1]], axis=1))
    return [names[row] for row in chosen]


def _difference(one: bytes, other: bytes) -> float:
    """How far the pixels of two pictures of a size are apart on average."""
    pixels = [np.asarray(open_picture(data).convert("RGB"), np.float64) for data in (one, other)]
    return float(np.abs(pixels[0] - pixels[1]).mean())


def png(picture: Image.Image) -> bytes:
    """A picture as a PNG file."""
    file = io.BytesIO()
    picture.save(file, "PNG")
    return file.getvalue()
