"""Every vendor's package is read as it is laid out, and drawn on white."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from tests.worlds.emoji.packages import CODES, packages, write_package

from ppd_lightning.errors import UserError
from ppd_lightning.worlds.emoji import pictures
from ppd_lightning.worlds.emoji.concepts import shipped_concepts
from ppd_lightning.worlds.emoji.pictures import STYLES, concepts_in_every_style, draw_world

SIZE = 32


def test_each_style_draws_each_concept_in_its_own_way(tmp_path: Path) -> None:
    concepts = ["sun", "thing 3", "thing 1", "thing 7"]
    world = draw_world(packages(tmp_path), concepts, SIZE)
    assert world.concepts == tuple(concepts)
    assert world.pictures.shape == (4, len(STYLES), SIZE, SIZE, 3)
    assert world.pictures.dtype == np.uint8
    assert (world.pictures[:, :, 0, 0] == 255).all()  # white corners
    middle = {style: world.pictures[1, column, 16, 16].tolist() for column, style in enumerate(STYLES)}
    assert middle["twemoji"] == middle["fluent_3d"] == [0xE0, 0xB0, 0x20]
    assert middle["high_contrast"] == [0, 0, 0]  # currentColor is black
    assert middle["openmoji"] == [255, 255, 255]  # a ring
    for drawn in world.pictures:
        assert len({picture.tobytes() for picture in drawn}) == len(STYLES)


def test_an_alias_is_drawn_as_its_parent(tmp_path: Path) -> None:
    world = draw_world(packages(tmp_path), ["thing 0", "thing 1"], SIZE)
    column = STYLES.index("twemoji")
    np.testing.assert_array_equal(world.pictures[0, column], world.pictures[1, column])


def test_the_order_of_the_concepts_is_kept(tmp_path: Path) -> None:
    files = packages(tmp_path)
    one, other = draw_world(files, ["thing 2", "sun"], SIZE), draw_world(files, ["sun", "thing 2"], SIZE)
    np.testing.assert_array_equal(one.pictures, other.pictures[::-1])


def test_an_unknown_concept_and_one_that_a_vendor_lacks_are_named(tmp_path: Path) -> None:
    files = packages(tmp_path)
    with pytest.raises(UserError, match=r"data\.concepts: 'unicorn' is no emoji name"):
        draw_world(files, ["sun", "unicorn"], SIZE)
    with pytest.raises(UserError, match=r"data\.concepts: .* does not draw rare"):
        draw_world(files, ["sun", "rare"], SIZE)


def test_concepts_in_every_style_are_short_things_that_all_draw(tmp_path: Path) -> None:
    assert concepts_in_every_style(packages(tmp_path)) == list(CODES)


def test_an_svg_is_drawn_without_the_fonts_of_the_machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []
    real = pictures.resvg_py.svg_to_bytes
    monkeypatch.setattr(
        pictures.resvg_py, "svg_to_bytes", lambda **options: (asked.append(options), real(**options))[1]
    )
    draw_world(packages(tmp_path), ["sun"], SIZE)
    assert asked
    assert all(options["skip_system_fonts"] for options in asked)


def test_a_large_package_is_read_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write_package(tmp_path / "x.tgz", {"a.json": 1, "b.json": [2], "c.json": 3})
    seen = []
    real = pictures._content
    monkeypatch.setattr(pictures, "_content", lambda archive, item: (seen.append(item.name), real(archive, item))[1])
    assert pictures._json(path, "package/b.json") == [2]
    assert seen == ["package/b.json"]


def test_shipped_concepts_are_a_prefix_of_distinct_names() -> None:
    assert shipped_concepts(3) == shipped_concepts(200)[:3]
    assert len(set(shipped_concepts(200))) == 200
    assert not any(name.startswith("#") or name != name.strip() for name in shipped_concepts(200))


@pytest.mark.parametrize("count", [0, 100_000])
def test_more_concepts_than_there_are_is_one_clear_message(count: int) -> None:
    with pytest.raises(UserError, match=rf"data\.concepts: {count} asked for, the shipped list holds \d+"):
        shipped_concepts(count)
