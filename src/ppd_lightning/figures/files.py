"""Figures as files (PNG, PDF and SVG) and inside of a page. The same figure gives the same bytes."""

from __future__ import annotations

import io
import re
from html import escape
from pathlib import Path

import matplotlib
from markupsafe import Markup
from matplotlib.figure import Figure
from matplotlib.text import Text

from ppd_lightning.figures.fonts import families_for
from ppd_lightning.figures.style import LIGHT, STYLE
from ppd_lightning.masking import for_sharing
from ppd_lightning.storage.atomic import atomic_path

DOTS_PER_INCH = 200
NO_DATES = {"png": {"Software": None}, "pdf": {"CreationDate": None}, "svg": {"Date": None}}
"""Metadata of each kind of file that would differ from one day or version to another."""


def save_figure(figure: Figure, path: Path) -> None:
    """Write a figure to `path` and beside it, once with each of the suffixes .png, .pdf and .svg.

    The PNG is for pages (200 dots an inch), PDF and SVG are for papers, with their fonts in them.

    Args:
        path: with or without one of these suffixes.
    """
    with matplotlib.rc_context({**STYLE, "svg.hashsalt": path.stem}):
        _settle(figure)
        for kind, metadata in NO_DATES.items():
            with atomic_path(path.with_name(f"{_stem(path)}.{kind}")) as temporary:
                figure.savefig(temporary, format=kind, dpi=DOTS_PER_INCH, metadata=metadata)


def inline_svg(figure: Figure, name: str, label: str) -> Markup:
    """A figure as an element of an HTML page that follows the page's colours and letters.

    Colours of the style become the page's variables of their names (`--ink`, `--c0`), so a dark page has dark figures.

    Args:
        name: another one for each figure of a page, because ids within the figure are made of it.
        label: what a screen reader says.
    """
    data = io.BytesIO()
    with matplotlib.rc_context({**STYLE, "svg.hashsalt": name, "svg.fonttype": "none"}):
        _settle(figure)
        figure.savefig(data, format="svg", metadata=NO_DATES["svg"])
    text = data.getvalue().decode()
    text = text[text.index("<svg") :]
    text = re.sub(r"<metadata>.*?</metadata>|<style.*?</style>", "", text, flags=re.DOTALL)
    text = re.sub(r' (version|xmlns|xmlns:xlink)="[^"]*"| transform="rotate\(-0 [^"]*"', "", text)
    text = re.sub(r"font-family: [^;\"]*;? ?", "", text).replace("xlink:href", "href")
    text = re.sub(r'<g id="[^"]*"', "<g", text)
    text = re.sub(r"\s*\n\s*", " ", text)
    for colour, value in LIGHT.items():
        text = text.replace(value, f"var(--{colour})")
    return Markup(text.replace("<svg", f'<svg role="img" aria-label="{escape(for_sharing(label))}"', 1))


def _stem(path: Path) -> str:
    return path.stem if path.suffix.removeprefix(".") in NO_DATES else path.name


def _settle(figure: Figure) -> None:
    """Give every text the fonts that it needs, and fix the layout, so that all files have the same one."""
    if figure.get_layout_engine() is None:
        return
    for text in figure.findobj(Text):
        assert isinstance(text, Text)
        text.set_fontfamily(families_for(text.get_text()))
    figure.draw_without_rendering()
    figure.set_layout_engine("none")
