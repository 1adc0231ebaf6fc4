"""Fonts for labels in any script: matplotlib's DejaVu Sans, and system fonts for the characters that it lacks."""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import suppress
from functools import cache
from pathlib import Path

from matplotlib.font_manager import FontEntry, FontProperties, findfont, findSystemFonts, fontManager
from matplotlib.ft2font import FT2Font
from PIL import ImageDraw, ImageFont

Run = tuple[str, Path]

FAMILY = "DejaVu Sans"
"""Comes with matplotlib: Latin, Greek, Cyrillic and more."""

REGULAR = (400, "normal", "regular", "book")


@cache
def default_font() -> Path:
    """The file of DejaVu Sans."""
    return Path(findfont(FontProperties(family=FAMILY)))


@cache
def font_for(character: str) -> tuple[str, Path]:
    """Family and file of the font that draws a character: DejaVu Sans, else a system font that has it.

    If no font has it, it is DejaVu Sans too, which draws a box. Of several system fonts upright ones of regular weight
    come first, then the alphabet decides.
    """
    if character in _characters(default_font()):
        return FAMILY, default_font()
    for entry in _system_fonts():
        if character in _characters(Path(entry.fname)):
            return entry.name, Path(entry.fname)
    return FAMILY, default_font()


def undrawable(texts: Iterable[str]) -> str:
    """The characters of the texts that no font of this machine has, which are drawn as boxes."""
    letters = dict.fromkeys("".join(texts))
    return "".join(one for one in letters if not one.isspace() and one not in _characters(font_for(one)[1]))


def families_for(text: str) -> list[str]:
    """The families that a text needs, DejaVu Sans first."""
    return list(dict.fromkeys([FAMILY, *(font_for(character)[0] for character in text if not character.isspace())]))


class LabelFont:
    """A font of one size in pixels for drawing on Pillow's images, with other fonts for what DejaVu Sans lacks."""

    def __init__(self, size: int) -> None:
        self.size = size

    def length(self, text: str) -> float:
        """The width of a text in pixels."""
        return sum(_truetype(file, self.size).getlength(part) for part, file in _runs(text))

    def draw(self, pen: ImageDraw.ImageDraw, xy: tuple[float, float], text: str, ink: str, anchor: str = "lm") -> None:
        """Draw a line of text.

        Args:
            anchor: as Pillow's: l, m or r for left, middle or right, then t, m or s for top, middle or baseline.
        """
        x = xy[0] - {"l": 0.0, "m": 0.5, "r": 1.0}[anchor[0]] * self.length(text)
        ascent, descent = _truetype(default_font(), self.size).getmetrics()
        baseline = xy[1] + {"t": float(ascent), "m": (ascent - descent) / 2, "s": 0.0}[anchor[1]]
        for part, file in _runs(text):
            font = _truetype(file, self.size)
            pen.text((x, baseline), part, ink, font, "ls")
            x += font.getlength(part)


def _runs(text: str) -> list[Run]:
    """The text in parts of one font each; spaces belong to the part before."""
    runs: list[Run] = []
    for character in text:
        file = runs[-1][1] if runs and character.isspace() else font_for(character)[1]
        if runs and runs[-1][1] == file:
            runs[-1] = (runs[-1][0] + character, file)
        else:
            runs.append((character, file))
    return runs


@cache
def _truetype(file: Path, size: int) -> ImageFont.FreeTypeFont:
    return ImageFont.truetype(file, size)


@cache
def _characters(file: Path) -> frozenset[str]:
    """What a font has glyphs for; nothing where it cannot be scaled or read."""
    try:
        font = FT2Font(str(file))
    except (OSError, RuntimeError):
        return frozenset()
    return frozenset(map(chr, font.get_charmap())) if font.scalable else frozenset()


@cache
def _system_fonts() -> list[FontEntry]:
    """Upright fonts, those of regular weight first; also those that were installed after matplotlib listed them."""
    listed = {entry.fname for entry in fontManager.ttflist}
    for file in sorted(set(findSystemFonts()) - listed):
        with suppress(OSError, RuntimeError):  # not every file that looks like a font is one
            fontManager.addfont(file)
    upright = [one for one in fontManager.ttflist if one.style == "normal" and "last resort" not in one.name.lower()]
    return sorted(upright, key=lambda one: (one.weight not in REGULAR, one.name, one.fname))
