"""Labels of any script are drawn with glyphs, not with boxes."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageDraw

from ppd_lightning.figures import fonts
from ppd_lightning.figures.files import save_figure
from ppd_lightning.figures.fonts import FAMILY, LabelFont, default_font, families_for, font_for
from ppd_lightning.figures.lines import Series, line_figure

BOX = "\u0378"  # no character has this code
CHINESE = "汉"


def pixels(text: str) -> np.ndarray:
    sheet = Image.new("L", (60, 40), 255)
    LabelFont(20).draw(ImageDraw.Draw(sheet), (8, 20), text, "#000000")
    return np.asarray(sheet)


@pytest.mark.parametrize("character", ["é", "ü", "я", "Ж", "λ", "Ω"])
def test_accents_cyrillic_and_greek_are_not_the_box(character: str) -> None:
    assert font_for(character) == (FAMILY, default_font())
    assert (pixels(character) < 128).sum() > 10
    assert not np.array_equal(pixels(character), pixels(BOX))


def test_what_no_font_has_is_the_box_of_the_default_font() -> None:
    assert font_for(BOX) == (FAMILY, default_font())
    assert (pixels(BOX) < 128).sum() > 10


@pytest.mark.filterwarnings("ignore:Glyph .* missing from font")
def test_chinese_is_drawn_by_a_system_font_where_one_is_installed(tmp_path: Path) -> None:
    family, file = font_for(CHINESE)
    if file == default_font():
        pytest.skip("no system font has Chinese characters")
    assert not np.array_equal(pixels(CHINESE), pixels(BOX))
    assert families_for(f"a {CHINESE}") == [FAMILY, family]
    for name in (CHINESE, BOX):
        save_figure(line_figure(name, [Series("", [(0, 0)])]), tmp_path / name)
    assert (tmp_path / f"{CHINESE}.png").read_bytes() != (tmp_path / f"{BOX}.png").read_bytes()


def test_a_system_font_is_used_for_the_characters_that_the_default_font_lacks(monkeypatch: pytest.MonkeyPatch) -> None:
    """DejaVu Sans Mono stands for a font of another script, so that this is tested wherever no such font is."""
    mono = default_font().with_name("DejaVuSansMono.ttf")
    own = fonts._characters(default_font()) - {"я"}
    monkeypatch.setattr(fonts, "_characters", lambda file: own if file == default_font() else {"я"})
    monkeypatch.setattr(
        fonts, "_system_fonts", lambda: [entry for entry in fonts.fontManager.ttflist if Path(entry.fname) == mono]
    )
    fonts.font_for.cache_clear()
    try:
        assert [(part, file.name) for part, file in fonts._runs("ab я c")] == [
            ("ab ", "DejaVuSans.ttf"),
            ("я ", "DejaVuSansMono.ttf"),
            ("c", "DejaVuSans.ttf"),
        ]
        assert families_for("я") == [FAMILY, "DejaVu Sans Mono"]
        assert LabelFont(20).length("яя") == 2 * LabelFont(20).length("я")
    finally:
        fonts.font_for.cache_clear()


def test_anchors_place_the_text() -> None:
    def columns(anchor: str) -> tuple[int, int]:
        sheet = Image.new("L", (100, 40), 255)
        LabelFont(16).draw(ImageDraw.Draw(sheet), (50, 20), "word", "#000000", anchor)
        dark = np.flatnonzero((np.asarray(sheet) < 128).any(0))
        return int(dark[0]), int(dark[-1])

    assert columns("lm")[0] >= 50
    assert columns("rm")[1] <= 50
    assert abs(sum(columns("mm")) / 2 - 50) < 2
