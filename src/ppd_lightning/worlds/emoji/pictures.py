"""Concepts drawn by several vendors: reading the packages and rendering them on white."""

from __future__ import annotations

import json
import tarfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import resvg_py
from PIL import Image

from ppd_lightning.data.pictures import as_rgb, open_picture
from ppd_lightning.errors import UserError
from ppd_lightning.worlds.emoji.vendors import PACKAGES

STYLES = tuple(key for key in PACKAGES if key != "names")
"""The styles in their fixed order: the index of a style is its place here."""


@dataclass(frozen=True)
class World:
    """Every drawn concept.

    concepts: (K,) names, which are the captions; pictures: (K, S, H, W, 3) uint8 on white, S in the order of STYLES.
    """

    concepts: tuple[str, ...]
    pictures: np.ndarray


def draw_world(files: dict[str, Path], concepts: list[str], size: int) -> World:
    """Render `concepts` in every style at `size` x `size` pixels.

    Args:
        files: the package files, as `vendors.fetch_packages` returns them.

    Raises:
        UserError: a concept is unknown or some vendor does not draw it.
    """
    codes = codes_by_name(files["names"])
    unknown = [f"data.concepts: {name!r} is no emoji name" for name in concepts if name not in codes]
    if unknown:
        raise UserError(unknown)
    pictures = np.empty((len(concepts), len(STYLES), size, size, 3), np.uint8)
    wanted = [codes[name] for name in concepts]
    for column, style in enumerate(STYLES):
        read = {"fluent_3d": _webp, "openmoji": _svg_files}.get(style, draw_iconify)
        drawn = read(files[style], wanted, size)
        absent = [name for name, code in zip(concepts, wanted, strict=True) if code not in drawn]
        if absent:
            raise UserError(f"data.concepts: {PACKAGES[style].name} does not draw {', '.join(absent)}")
        for row, code in enumerate(wanted):
            pictures[row, column] = drawn[code]
    return World(tuple(concepts), pictures)


def concepts_in_every_style(files: dict[str, Path]) -> list[str]:
    """Every concept of animals, food, places, activities and objects that all vendors draw, in one or two words."""
    listed = [_vendor_codes(files[style], style) for style in STYLES]
    return [
        entry["label"]
        for entry in _names(files["names"])
        if entry.get("group") in (3, 4, 5, 6, 7)
        and len(entry["label"].split()) <= 2
        and all(_plain(entry["hexcode"]) in codes for codes in listed)
    ]


def _plain(code: str) -> str:
    """A codepoint sequence in one spelling: lower case, without the variation selector."""
    return code.lower().replace("-fe0f", "")


def _content(archive: tarfile.TarFile, item: tarfile.TarInfo) -> bytes:
    file = archive.extractfile(item)
    assert file is not None
    return file.read()


def _json(path: Path, name: str) -> Any:
    with tarfile.open(path) as archive:
        # Stops at the file: looking it up by name would unpack the whole archive first.
        return next(json.loads(_content(archive, item)) for item in archive if item.name == name)


def _names(path: Path) -> list[dict[str, Any]]:
    return list(_json(path, "package/en/data.json"))


def codes_by_name(path: Path) -> dict[str, str]:
    """The code of each emoji name, from the package of names."""
    return {entry["label"]: _plain(entry["hexcode"]) for entry in _names(path)}


def _vendor_codes(path: Path, style: str) -> set[str]:
    if style not in ("fluent_3d", "openmoji"):
        return {_plain(code) for code in _json(path, "package/chars.json")}
    folder = {"fluent_3d": "package/assets/", "openmoji": "package/color/svg/"}[style]
    with tarfile.open(path) as archive:
        return {_plain(Path(name).stem) for name in archive.getnames() if name.startswith(folder)}


def _on_white(picture: Image.Image, size: int) -> np.ndarray:
    return np.asarray(as_rgb(picture).resize((size, size), Image.Resampling.LANCZOS))


def _rasterise(svg: str, size: int) -> np.ndarray:
    # Drawn at four times the size and reduced, as the 3D pictures are: one way of smoothing for every style.
    # Without the machine's fonts, which would be read anew for each picture and differ between machines.
    png = resvg_py.svg_to_bytes(svg_string=svg, width=4 * size, height=4 * size, skip_system_fonts=True)
    return _on_white(open_picture(bytes(png)), size)


def draw_iconify(path: Path, wanted: list[str], size: int) -> dict[str, np.ndarray]:
    """Those of the wanted codes that a package of Iconify has, each (size, size, 3) uint8 on white."""
    icons, chars = _json(path, "package/icons.json"), _json(path, "package/chars.json")
    names = {_plain(code): name for code, name in chars.items()}
    drawn = {}
    for code in wanted:
        name = names.get(code)
        name = icons.get("aliases", {}).get(name, {}).get("parent", name)
        icon = icons["icons"].get(name)
        if icon is not None:
            width, height = icon.get("width", icons["width"]), icon.get("height", icons["height"])
            body = icon["body"].replace("currentColor", "#000")
            view = f'viewBox="0 0 {width} {height}"'
            drawn[code] = _rasterise(f'<svg xmlns="http://www.w3.org/2000/svg" {view}>{body}</svg>', size)
    return drawn


def _svg_files(path: Path, wanted: list[str], size: int) -> dict[str, np.ndarray]:
    folder = "package/color/svg/"
    return {code: _rasterise(data.decode(), size) for code, data in _members(path, folder, wanted)}


def _webp(path: Path, wanted: list[str], size: int) -> dict[str, np.ndarray]:
    return {code: _on_white(open_picture(data), size) for code, data in _members(path, "package/assets/", wanted)}


def _members(path: Path, folder: str, wanted: list[str]) -> list[tuple[str, bytes]]:
    """The files of `folder` in the package whose stem is a wanted code, in the order of the package."""
    codes = set(wanted)
    with tarfile.open(path) as archive:
        return [
            (_plain(Path(item.name).stem), _content(archive, item))
            for item in archive
            if item.name.startswith(folder) and _plain(Path(item.name).stem) in codes
        ]
