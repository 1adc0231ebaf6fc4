from __future__ import annotations

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

from ppd_lightning.figures.fonts import LabelFont
from ppd_lightning.generation import grid
from ppd_lightning.generation.grid import as_bytes, as_picture, as_pictures, cell_for, draw_grid


def colours(rows: int, columns: int) -> Tensor:
    return torch.rand(rows, columns, 3, generator=torch.Generator().manual_seed(0))


def places(sheet: Image.Image, wanted: Tensor, cell: int) -> dict[tuple[int, int], list[int]]:
    """Where the cell of each colour begins, (row, column) to [y, x]; every cell must be whole."""
    pixels, found = np.asarray(sheet), {}
    for row, column in np.ndindex(*wanted.shape[:2]):
        colour = as_bytes(wanted[row, column][None, :, None, None])[0, 0, 0]
        inside = np.argwhere((pixels == colour).all(2))
        assert len(inside) == cell * cell
        found[row, column] = inside.min(0).tolist()
    return found


def test_pixels_are_rounded_and_kept_in_range() -> None:
    image = torch.tensor([0.0, 1.0, 0.5, 1.2, -0.1, 0.499 / 255])[None, None, None].expand(1, 3, 1, 6)
    assert as_bytes(image)[0, 0, :, 0].tolist() == [0, 255, 128, 255, 0, 0]


def test_channels_come_last() -> None:
    image = torch.zeros(3, 2, 4)
    image[0], image[2] = 1, 0.2
    assert np.asarray(as_picture(image)).tolist() == [[[255, 0, 51]] * 4] * 2


def test_each_picture_stands_in_its_row_and_column() -> None:
    wanted = colours(2, 3)
    pictures = as_pictures(wanted[..., None, None].expand(2, 3, 3, 8, 8))
    sheet = draw_grid(pictures, ["a fox", "tree"], ["base", "ann\nlikes flat", "bo"], cell=40, title="Title")
    found = places(sheet, wanted, 40)
    assert found[0, 0][0] == found[0, 2][0] < found[1, 0][0] == found[1, 2][0]
    assert found[0, 0][1] == found[1, 0][1] < found[0, 1][1] < found[0, 2][1]
    assert found[0, 0][0] > 30
    assert found[0, 0][1] > 30


def test_a_picture_is_brought_to_its_cell_before_the_next_is_opened(monkeypatch: pytest.MonkeyPatch) -> None:
    """So that a sheet of large files never holds more than a few of them."""
    seen: list[str] = []
    resize = Image.Image.resize

    def watched(picture: Image.Image, *args: object) -> Image.Image:
        seen.append("brought to its cell")
        return resize(picture, *args)

    def opened() -> Image.Image:
        seen.append("opened")
        return Image.new("RGB", (1024, 1024))

    monkeypatch.setattr(Image.Image, "resize", watched)
    sheet = draw_grid(((opened() for _ in range(3)) for _ in range(2)), ["a", "b"], ["x", "y", "z"], cell=50)
    assert seen == ["opened", "brought to its cell"] * 6
    assert max(sheet.size) < 300


def test_pictures_and_names_that_do_not_go_together_are_refused() -> None:
    with pytest.raises(ValueError, match="zip"):
        draw_grid(as_pictures(torch.zeros(2, 3, 3, 8, 8)), ["a", "b"], ["x", "y"])


@pytest.mark.parametrize(
    ("side", "rows", "columns", "cell"),
    [(64, 4, 5, 112), (192, 4, 5, 192), (1024, 4, 5, 256), (1024, 500, 5, 24), (64, 4, 100_000, 1)],
)
def test_cells_stay_readable_and_the_sheet_small_enough(side: int, rows: int, columns: int, cell: int) -> None:
    assert cell_for(side, rows, columns) == cell


def test_long_names_keep_the_sheet_narrow_and_the_cells_whole() -> None:
    caption = "a red fox under an old tree, golden hour, " * 20
    wanted = colours(2, 2)
    names = ["0.25 somebody + 0.25 somebody else + 0.5 a third person", "unbreakable" * 30]
    sheet = draw_grid(as_pictures(wanted[..., None, None].expand(2, 2, 3, 8, 8)), [caption, "tree"], names, cell=112)
    assert sheet.width < 550
    assert sheet.height < 350
    places(sheet, wanted, 112)


def test_dots_stand_for_what_is_left_out_of_a_name() -> None:
    font = LabelFont(13)
    assert grid._lines("red fox", font, 500, 3) == ["red fox"]
    assert grid._lines("", font, 500, 3) == [""]
    assert "".join(grid._lines("withoutanyspaces", font, 50, 9)) == "withoutanyspaces"
    lines = grid._lines("one two three four five six seven", font, 70, 2)
    assert len(lines) == 2
    assert lines[1].endswith("...")
    assert "one two three four five six seven".startswith(" ".join(lines).removesuffix("...").strip())
    assert all(font.length(line) <= 70 for line in lines)


def test_labels_of_other_scripts_are_drawn_and_not_boxes() -> None:
    pictures = as_pictures(torch.zeros(1, 1, 3, 8, 8))
    sheets = [
        np.asarray(draw_grid(pictures, [name], [name])) for name in ("\u0378", "é", "я", "ω")
    ]  # the first is a box
    for sheet in sheets[1:]:
        assert sheet.shape != sheets[0].shape or (sheet != sheets[0]).any()


def test_letters_that_no_font_has_are_named(caplog: pytest.LogCaptureFixture) -> None:
    draw_grid([[Image.new("RGB", (8, 8))]], ["fox \U0001f02b0"], ["base\x1b[31m"], cell=40)
    assert "\U0001f02b" in caplog.text
    assert "\x1b" not in caplog.text
