"""Pictures are opened as people see them: upright, on white, with 8 bits a channel; the others are refused by name."""

from __future__ import annotations

import hashlib
import io
import struct
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image, PngImagePlugin
from tests.data.handmade import jpeg, rows, write

from ppd_lightning.data.images import index_images, read_images
from ppd_lightning.data.pickapic_rows import read_rows
from ppd_lightning.data.pictures import NoPictureError, Square, as_rgb, check_header, open_marked, open_picture
from ppd_lightning.rewards.readable import readable
from ppd_lightning.users.new_choices import choices_of_pictures
from ppd_lightning.users.vlm_pairs import prompt_pair


def saved(picture: Image.Image, kind: str, **settings: Any) -> bytes:
    file = io.BytesIO()
    picture.save(file, kind, **settings)
    return file.getvalue()


def turned(kind: str = "JPEG", orientation: int = 6) -> bytes:
    """A picture that lies: 80 x 40, its left half red."""
    exif = Image.Exif()
    exif[0x0112] = orientation
    pixels = np.zeros((40, 80, 3), np.uint8)
    pixels[:, :40] = (255, 0, 0)
    return saved(Image.fromarray(pixels), kind, exif=exif)


def deep(value: float, kind: type, form: str = "TIFF") -> bytes:
    return saved(Image.fromarray(np.full((8, 8), value, kind)), form)


def corner(data: bytes) -> tuple[int, ...]:
    return tuple(Square(8)(open_picture(data))[:, 0, 0].tolist())


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "TIFF"])
def test_a_picture_is_upright_for_whoever_sees_it(kind: str) -> None:
    picture = open_picture(turned(kind))
    seen = np.asarray(as_rgb(picture))
    assert picture.size == readable(picture).size == (40, 80)
    assert seen[5, 20, 0] > 250  # what lay at the left is at the top
    assert seen[75, 20, 0] < 5
    shown = prompt_pair("p", "a caption", picture, picture, 80)
    assert [image.size for image in shown.images] == [(40, 80)] * 2


@pytest.mark.parametrize("orientation", [0, 1, 9, 6000])
def test_an_orientation_that_says_nothing_changes_nothing(orientation: int) -> None:
    assert open_picture(turned(orientation=orientation)).size == (80, 40)


def test_a_picture_in_memory_and_one_in_a_file_are_the_same(tmp_path: Path) -> None:
    (tmp_path / "a.jpg").write_bytes(turned())
    with Image.open(tmp_path / "a.jpg") as opened:
        (choice,) = choices_of_pictures("ann", [("a", opened, tmp_path / "a.jpg")])
    assert choice.preferred.size == choice.other.size == (40, 80)


CLEAR = Image.new("P", (8, 8), 1)
CLEAR.putpalette([0, 0, 0, 250, 0, 250])


@pytest.mark.parametrize(
    "data",
    [
        saved(Image.new("RGBA", (8, 8), (255, 0, 255, 0)), "PNG"),
        saved(Image.new("RGBA", (8, 8), (255, 0, 255, 0)), "WEBP", lossless=True, exact=True),
        saved(Image.new("LA", (8, 8), (0, 0)), "PNG"),
        saved(Image.new("PA", (8, 8), 0), "TIFF"),
        saved(CLEAR, "PNG", transparency=1),
        saved(CLEAR, "GIF", transparency=1),
        saved(Image.new("RGB", (8, 8), (7, 8, 9)), "PNG", transparency=(7, 8, 9)),
        saved(Image.fromarray(np.full((8, 8), 30000, np.uint16)), "PNG", transparency=30000),
    ],
    ids=["RGBA", "WEBP", "LA", "PA", "palette", "GIF", "colour", "16 bits"],
)
def test_what_is_transparent_is_white(data: bytes) -> None:
    assert corner(data) == (255, 255, 255)
    assert not check_header(data)


@pytest.mark.parametrize(
    ("data", "grey"),
    [
        (deep(30000, np.uint16, "PNG"), 117),
        (deep(30000, np.uint16), 117),
        (deep(30000, np.int32), 117),
        (deep(200, np.int32), 200),
        (deep(0.5, np.float32), 128),
        (deep(200, np.float32), 200),
    ],
)
def test_more_than_8_bits_are_scaled_for_everybody(data: bytes, grey: int) -> None:
    assert corner(data) == (grey, grey, grey)
    assert np.asarray(readable(open_picture(data)))[0, 0] == grey


def tga() -> bytes:
    return saved(Image.new("RGB", (8, 8)), "TGA")


@pytest.mark.parametrize(
    ("data", "why"),
    [
        (deep(-1, np.float32), "numbers from -1 to -1"),
        (deep(float("nan"), np.float32), "numbers from nan"),
        (deep(70000, np.int32), "numbers from 70000"),
        (tga(), "TGA, which is not read; expected one of JPEG, PNG"),
        (b"\xff\x0a" + bytes(20), "JPEG XL, which is not read"),
        (b"<!doctype html><p>404", "a web page"),
        (b"version https://git-lfs.github.com/spec/v1\n", "git lfs pull"),
        (b"root:x:0:0", "a text and no image"),
        (b"", "empty"),
        (jpeg("a")[:-300], "truncated JPEG"),
        (saved(Image.effect_noise((64, 64), 50), "AVIF")[:-200], "truncated AVIF"),
        (saved(Image.new("1", (16000, 12000)), "PNG"), "192 MP, more than 179 MP"),
    ],
)
def test_what_is_not_read_is_refused_with_its_reason(data: bytes, why: str) -> None:
    with pytest.raises(NoPictureError, match=why):
        open_picture(data)


def test_a_format_whose_package_is_missing_is_refused_with_the_remedy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(NoPictureError, match=r'HEIC.*pip install "ppd-lightning\[images\]"'):
        open_picture(b"\0\0\0\x18ftypheic" + bytes(40))


def test_heic_is_read_where_its_package_is_there() -> None:
    pytest.importorskip("pillow_heif").register_heif_opener()
    assert corner(saved(Image.new("RGB", (64, 64), "white"), "HEIF")) == (255, 255, 255)


@pytest.mark.parametrize("kind", ["AVIF", "JPEG2000"])
def test_newer_formats_are_read(kind: str) -> None:
    assert corner(saved(Image.new("RGB", (16, 16), "white"), kind)) == (255, 255, 255)


def test_metadata_of_any_size_are_no_fault_and_no_bomb() -> None:
    text = PngImagePlugin.PngInfo()
    text.add_itxt("XML:com.adobe.xmp", "x" * (2 << 20), zip=True)
    red = Image.new("RGB", (8, 8), "red")
    for settings in ({"pnginfo": text}, {"icc_profile": bytes(3 << 20)}):
        assert corner(saved(red, "PNG", **settings)) == (255, 0, 0)
    whole = saved(red, "PNG")
    body = b"iTXt" + b"a\0\1\0\0\0" + zlib.compress(bytes(100 << 20))
    bomb = struct.pack(">I", len(body) - 4) + body + struct.pack(">I", zlib.crc32(body))
    assert corner(whole[:33] + bomb + whole[33:]) == (255, 0, 0)


def test_what_earlier_versions_saw_otherwise_has_another_digest(tmp_path: Path) -> None:
    """So what they computed of it is stale, and what they computed of plain pictures is not."""
    made = rows(users=1)[:2]
    write(tmp_path, [made[0], made[1] | {"jpg_0": turned()}])
    assert open_marked(jpeg("a"))[1]
    assert not open_marked(turned())[1]
    digests: dict[str, bytes] = {}
    for batch in read_images(tmp_path, index_images(read_rows(tmp_path).table), [Square(8)]):
        digests |= dict(zip(batch.ids, batch.digests, strict=True))
    turned_id = made[1]["image_0_uid"]
    assert digests[turned_id] != hashlib.sha256(turned()).digest()
    assert all(digest == hashlib.sha256(jpeg(name)).digest() for name, digest in digests.items() if name != turned_id)
