"""Tiny packages in the form of the pinned ones: a few concepts as coloured squares, discs and rings."""

from __future__ import annotations

import io
import json
import tarfile
from pathlib import Path
from typing import Any

from PIL import Image

CODES = {f"thing {number}": f"1f6{number:02d}" for number in range(20)}
CODES["sun"] = "2600-fe0f"  # some vendors write the variation selector, some do not
COLOURS = ("#c03020", "#20a040", "#3050d0", "#e0b020", "#a040b0")


def write_package(path: Path, files: dict[str, bytes | str | Any]) -> Path:
    """A gzipped tar of `package/...`; what is neither bytes nor text becomes JSON."""
    with tarfile.open(path, "w:gz") as archive:
        for name, content in files.items():
            data = (
                content
                if isinstance(content, bytes)
                else (content if isinstance(content, str) else json.dumps(content)).encode()
            )
            item = tarfile.TarInfo(f"package/{name}")
            item.size = len(data)
            archive.addfile(item, io.BytesIO(data))
    return path


def packages(folder: Path) -> dict[str, Path]:
    """One package a style and the names."""
    folder.mkdir(parents=True, exist_ok=True)
    names = [{"label": label, "hexcode": code.upper(), "group": 3} for label, code in CODES.items()]
    names.append({"label": "three words long", "hexcode": "1F700", "group": 3})
    names.append({"label": "flag", "hexcode": "1F701", "group": 9})
    names.append({"label": "rare", "hexcode": "1F702", "group": 3})
    shapes = {
        "twemoji": '<rect x="4" y="4" width="24" height="24" fill="{}"/>',
        "high_contrast": '<circle cx="16" cy="16" r="{r}" fill="currentColor"/>',
        "openmoji": '<circle cx="16" cy="16" r="11" fill="none" stroke="{}" stroke-width="4"/>',
    }
    made = {"names": write_package(folder / "names.tgz", {"package.json": {}, "en/data.json": names})}
    for style in ("twemoji", "high_contrast"):
        icons = {
            label.replace(" ", "-"): {"body": shapes[style].format(COLOURS[k % 5], r=6 + k % 7)}
            for k, label in enumerate(CODES)
            if label != "thing 1"
        }
        alias = {"thing-1": {"parent": "thing-0"}}
        chars = {code: label.replace(" ", "-") for label, code in CODES.items()}
        files = {"icons.json": {"icons": icons, "aliases": alias, "width": 32, "height": 32}, "chars.json": chars}
        made[style] = write_package(folder / f"{style}.tgz", files)
    svg = '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 32 32">{}</svg>'
    made["openmoji"] = write_package(
        folder / "openmoji.tgz",
        {
            f"color/svg/{code.upper().replace('-FE0F', '')}.svg": svg.format(
                shapes["openmoji"].format(COLOURS[k % 5], r=0)
            )
            for k, code in enumerate(CODES.values())
        },
    )
    made["fluent_3d"] = write_package(
        folder / "fluent.tgz",
        {f"assets/{code}.webp": _webp(COLOURS[k % 5], 40 + 5 * (k % 9)) for k, code in enumerate(CODES.values())},
    )
    return made


def _webp(colour: str, side: int) -> bytes:
    picture = Image.new("RGBA", (128, 128), (0, 0, 0, 0))
    picture.paste(colour, (64 - side // 2, 64 - side // 2, 64 + side // 2, 64 + side // 2))
    file = io.BytesIO()
    picture.save(file, "WEBP", lossless=True)
    return file.getvalue()
