"""The one style of all figures: colours, fonts, sizes; and how a figure begins.

Figures are made without pyplot, so that nothing of them stays in the process. Every function that makes or saves one
runs in the context `STYLE`.
"""

from __future__ import annotations

from typing import Any

import matplotlib
from cycler import cycler
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from ppd_lightning.figures.fonts import FAMILY
from ppd_lightning.masking import for_sharing

LIGHT = {
    "paper": "#ffffff",
    "ink": "#1b1b1d",
    "faint": "#63666b",
    "line": "#e2e3e6",
    "c0": "#2b6cb0",
    "c1": "#c2560c",
    "c2": "#2f855a",
    "c3": "#8b46c1",
    "c4": "#b83280",
    "c5": "#8a6d0b",
    "c6": "#20808d",
    "c7": "#6b6e76",
}
"""Colours by name; figures are drawn in these."""
DARK = {
    "paper": "#17181b",
    "ink": "#e8e8ea",
    "faint": "#9ea2aa",
    "line": "#34363c",
    "c0": "#6fb1f0",
    "c1": "#f0995a",
    "c2": "#6cc794",
    "c3": "#c59bf0",
    "c4": "#ee8fc4",
    "c5": "#d9bd55",
    "c6": "#63c5d0",
    "c7": "#a9adb6",
}
"""The same on a dark page."""
SERIES = [LIGHT[f"c{number}"] for number in range(8)]
"""Colours of series, in their order."""
GREY = 7
"""The one of them for what is in the background."""
WIDTH, HEIGHT = 4.2, 2.9
"""Of a figure with one panel, in inches."""
LONGEST_LABEL = 48
"""Letters of a label of a series or a row."""

STYLE: Any = {
    "font.family": FAMILY,
    "font.size": 9,
    "axes.titlesize": 9.5,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "axes.titlepad": 8,
    "axes.labelsize": 9,
    "axes.labelcolor": LIGHT["faint"],
    "axes.edgecolor": LIGHT["faint"],
    "axes.linewidth": 0.7,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "axes.prop_cycle": cycler(color=SERIES),
    "grid.color": LIGHT["line"],
    "grid.linewidth": 0.8,
    "text.color": LIGHT["ink"],
    "text.parse_math": False,
    "xtick.color": LIGHT["faint"],
    "ytick.color": LIGHT["faint"],
    "xtick.labelsize": 8.5,
    "ytick.labelsize": 8.5,
    "xtick.major.size": 0,
    "ytick.major.size": 0,
    "xtick.minor.size": 0,
    "figure.facecolor": LIGHT["paper"],
    "axes.facecolor": LIGHT["paper"],
    "savefig.facecolor": LIGHT["paper"],
    "legend.frameon": False,
    "legend.fontsize": 8.5,
    "legend.handlelength": 1.2,
    "legend.borderpad": 0,
    "lines.linewidth": 1.6,
    "lines.markersize": 4.5,
    "image.interpolation": "antialiased",
    "pdf.fonttype": 42,
    "svg.fonttype": "path",
    "figure.constrained_layout.w_pad": 0.06,
    "figure.constrained_layout.h_pad": 0.06,
}
"""matplotlib's rcParams (whose names some of its versions list as a type). No label is parsed as mathematics."""

styled = matplotlib.rc_context(STYLE)
"""Decorates functions that make figures."""


def new_figure(title: str, width: float = WIDTH, height: float = HEIGHT) -> tuple[Figure, Axes]:
    """A figure of a size in inches with one panel and its title; to be called in the context `STYLE`."""
    figure = Figure(figsize=(width, height), layout="constrained")
    axes = figure.subplots()
    if title:
        axes.set_title(shortened(title, 56))
    return figure, axes


def shortened(words: str, letters: int = LONGEST_LABEL) -> str:
    """Words of at most so many letters; an ellipsis stands for the rest."""
    line = for_sharing(" ".join(words.split()))
    return line if len(line) <= letters else f"{line[: letters - 1]}…"
