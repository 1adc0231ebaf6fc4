"""A figure is three files, the same bytes each time, and an element of a page in the page's colours."""

from __future__ import annotations

import re
import sys
from html.parser import HTMLParser
from pathlib import Path

import matplotlib
import numpy as np
import pytest
from matplotlib.figure import Figure
from PIL import Image

from ppd_lightning.figures.files import inline_svg, save_figure
from ppd_lightning.figures.intervals import Row, interval_figure
from ppd_lightning.figures.lines import Series, line_figure


def figure(title: str = "loss") -> Figure:
    points = [(1.0, 2.0), (2.0, 1.0), (4.0, float("nan"))]
    return line_figure(title, [Series("a & b", points, dots=True), Series("", [])], x_label="<i>", log=True)


def test_the_same_figure_gives_the_same_bytes_in_png_pdf_and_svg(tmp_path: Path) -> None:
    for number in (1, 2):
        save_figure(figure(), tmp_path / f"{number}/win_rate.unseen")
    names = sorted(path.name for path in (tmp_path / "1").iterdir())
    assert names == ["win_rate.unseen.pdf", "win_rate.unseen.png", "win_rate.unseen.svg"]
    for name in names:
        assert (tmp_path / "1" / name).read_bytes() == (tmp_path / "2" / name).read_bytes()
    assert not re.search("20[0-9]{2}-", (tmp_path / "1/win_rate.unseen.svg").read_text())
    save_figure(figure(), tmp_path / "3/stats.png")
    assert {path.name for path in (tmp_path / "3").iterdir()} == {"stats.png", "stats.pdf", "stats.svg"}


def test_a_figure_of_a_page_escapes_its_words_and_has_the_colours_of_the_page() -> None:
    text = inline_svg(figure("<b> $x^2$"), "loss", '"loss" & <more>')
    assert text.startswith('<svg role="img" aria-label="&quot;loss&quot; &amp; &lt;more&gt;"')
    assert "&lt;b&gt; $x^2$" in text, "dollar signs are no mathematics"
    assert "a &amp; b" in text
    assert "var(--ink)" in text
    assert "var(--c0)" in text
    assert not re.search("#[0-9a-f]{6}", text)
    assert "http" not in text
    HTMLParser().feed(text)


def test_figures_neither_use_pyplot_nor_change_the_settings_of_the_process(tmp_path: Path) -> None:
    before = dict(matplotlib.rcParams)
    save_figure(figure(), tmp_path / "figure")
    assert "matplotlib.pyplot" not in sys.modules or not sys.modules["matplotlib.pyplot"].get_fignums()
    assert dict(matplotlib.rcParams) == before


def test_an_interval_is_drawn_from_its_low_to_its_high_end() -> None:
    axes = interval_figure("rates", [Row("a", 0.5, 0.4, 0.7), Row("b", 0.9, 0.8, 1.0)], level=0.5).axes[0]
    lines = [(list(line.get_xdata()), list(line.get_ydata())) for line in axes.lines[1:]]
    assert lines == [([0.4, 0.7], [0, 0]), ([0.5], [0]), ([0.8, 1.0], [1, 1]), ([0.9], [1])]
    assert [label.get_text() for label in axes.get_yticklabels()] == ["a", "b"]
    assert axes.get_ylim()[0] > axes.get_ylim()[1], "the first row is above"


@pytest.mark.parametrize("names", [["a"], ["a" * 80] * 5, [f"seed {number}" for number in range(7)]])
def test_legends_of_any_length_leave_room_for_the_curve(names: list[str], tmp_path: Path) -> None:
    made = line_figure("loss", [Series(name, [(0, 0), (1, 1)], number) for number, name in enumerate(names)])
    save_figure(made, tmp_path / "figure")
    width, height = made.get_size_inches()
    box = made.axes[0].get_position()
    assert box.width * width > 3
    assert box.height * height > 1.4
    pixels = np.asarray(Image.open(tmp_path / "figure.png").convert("L"))
    assert (pixels[:, :2] > 250).all(), "no label is cut off at the left"
    assert (pixels[:, -2:] > 250).all(), "no label is cut off at the right"
