"""Each image is found and decoded once, whatever rows show it; a damaged one is listed, not fatal."""

from __future__ import annotations

import hashlib
import io
import multiprocessing
import struct
import sys
import zlib
from pathlib import Path
from typing import Any

import fsspec
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image
from PIL.JpegImagePlugin import JpegImageFile
from tests.data.handmade import SIZE, flip_byte, jpeg, row, rows, write

from ppd_lightning.data import images
from ppd_lightning.data.images import (
    IMAGES_SCHEMA,
    decode,
    image_units,
    images_fingerprint,
    index_images,
    read_images,
)
from ppd_lightning.data.pickapic import SCHEMA
from ppd_lightning.data.pickapic_rows import read_rows
from ppd_lightning.data.pictures import Square
from ppd_lightning.errors import UserError

PROCESSES = multiprocessing.get_context("forkserver" if sys.platform == "linux" else None)


def seen(data: bytes, size: int) -> np.ndarray | None:
    """The middle square of a file; None if it is damaged."""
    views = decode(data, [Square(size)])
    return views[0] if views is not None else None


def test_each_distinct_image_is_listed_once(tmp_path: Path) -> None:
    made = rows()
    write(tmp_path, made)
    index = index_images(read_rows(tmp_path).table)
    shown = {(r[f"image_{s}_uid"], r["caption"], r[f"model_{s}"]) for r in made for s in (0, 1)}
    assert index.schema == IMAGES_SCHEMA
    assert {(r["image_id"], r["caption"], r["model"]) for r in index.to_pylist()} == shown
    assert len(index) == len(shown)


def test_images_are_decoded_as_pil_decodes_them(tmp_path: Path) -> None:
    made = rows()
    write(tmp_path, made[:80], name="a.parquet")
    write(tmp_path, made[80:], name="b.parquet")
    index = index_images(read_rows(tmp_path).table)
    shuffled = index.take(pa.array(np.random.default_rng(0).permutation(len(index))))
    found = {}
    for batch in read_images(tmp_path, shuffled, [Square(SIZE)], batch_size=7):
        assert batch.pixels[0].shape == (len(batch.ids), 3, SIZE, SIZE)
        assert not batch.damaged
        found |= dict(zip(batch.ids, zip(batch.digests, batch.pixels[0], strict=True), strict=True))
    assert found.keys() == set(index["image_id"].to_pylist())
    for image_id, (digest, pixels) in found.items():
        data = jpeg(image_id)
        assert digest == hashlib.sha256(data).digest()
        np.testing.assert_array_equal(pixels.transpose(1, 2, 0), np.asarray(Image.open(io.BytesIO(data))))


def test_an_image_is_decoded_once_for_all_views_of_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(tmp_path, rows(users=3))
    index, decoded, load = index_images(read_rows(tmp_path).table), [], JpegImageFile.load

    def counted(self: JpegImageFile) -> Any:
        decoded.extend([self] if self.tile else [])
        return load(self)

    monkeypatch.setattr(JpegImageFile, "load", counted)
    for batch in read_images(tmp_path, index, [Square(SIZE), Square(8), lambda picture: np.zeros((3, 2, 4), np.uint8)]):
        assert [pixels.shape[1:] for pixels in batch.pixels] == [(3, SIZE, SIZE), (3, 8, 8), (3, 2, 4)]
    assert len(decoded) == len(index)


def test_an_image_that_a_view_refuses_is_listed_as_damaged(tmp_path: Path) -> None:
    def refuse(picture: Image.Image) -> np.ndarray:
        raise UserError("too small")

    write(tmp_path, rows(users=1))
    index = index_images(read_rows(tmp_path).table)
    (batch,) = read_images(tmp_path, index, [Square(SIZE), refuse])
    assert (batch.ids, len(batch.damaged)) == ([], len(index))


def test_images_are_read_wherever_fsspec_reads(tmp_path: Path) -> None:
    path = write(tmp_path, rows(users=3))
    fsspec.filesystem("memory").pipe("/read/me/train-0.parquet", path.read_bytes())
    index = index_images(read_rows(tmp_path).table)
    here, there = (list(read_images(root, index, [Square(SIZE)])) for root in (tmp_path, "memory://read/me"))
    assert [batch.digests for batch in here] == [batch.digests for batch in there]


def test_an_image_that_many_rows_show_is_read_where_it_comes_first(tmp_path: Path) -> None:
    """Also where the column is a dictionary, as in the files that `data=folder` makes."""
    made = rows(users=3)
    columns = pa.Table.from_pylist(made, SCHEMA)
    coded = [
        column.dictionary_encode() if name[:3] == "jpg" else column
        for name, column in zip(SCHEMA.names, columns, strict=True)
    ]
    pq.write_table(pa.table(coded, names=SCHEMA.names), tmp_path / "coded.parquet", row_group_size=7)
    (batch,) = read_images(tmp_path, index_images(read_rows(tmp_path).table), [Square(SIZE)])
    assert dict(zip(batch.ids, batch.digests, strict=True)) == {
        row[f"image_{side}_uid"]: hashlib.sha256(row[f"jpg_{side}"]).digest() for row in made for side in (0, 1)
    }


def listed(*counts: int) -> pa.Table:
    """Images of row groups with so many each; a new file begins with every third."""
    rows = [
        {"file": f"{group // 3}.parquet", "row_group": group % 3, "row": row, "side": 0, "image_id": f"{group}/{row}"}
        for group, count in enumerate(counts)
        for row in range(count)
    ]
    return pa.Table.from_pylist(rows)


@pytest.mark.parametrize(
    ("groups", "units"),
    [
        ((10,), [10]),
        ((3, 4, 5, 6, 7), [12, 13]),
        ((10, 10, 1), [10, 10, 1]),
        ((9, 40, 9), [9, 40, 9]),
        ((95,), [40, 40, 15]),
        ((3, 80, 3), [3, 40, 40, 3]),
    ],
)
def test_units_are_whole_row_groups_unless_these_are_huge(
    groups: tuple[int, ...], units: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(images, "UNIT", 10)
    monkeypatch.setattr(images, "LARGEST_UNIT", 40)
    index = listed(*groups)
    made = image_units(index)
    assert [end - begin for begin, end in made.values()] == units
    assert list(made) == sorted(made)
    assert sorted(place for begin, end in made.values() for place in range(begin, end)) == list(range(len(index)))


def test_damaged_images_are_listed_and_the_others_read(tmp_path: Path) -> None:
    good = jpeg("good")
    broken = [b"", None, b"not an image", good[: len(good) // 2], b"\xff\xd8\xff\xe0" + bytes(100)]
    made = [row(n, user=1, caption=f"thing {n}", jpg_1=data) for n, data in enumerate(broken)]
    write(tmp_path, made)
    batches = list(read_images(tmp_path, index_images(read_rows(tmp_path).table), [Square(SIZE)], batch_size=2))
    assert sorted(name for batch in batches for name in batch.damaged) == [f"thing {n}/round" for n in range(5)]
    assert sorted(name for batch in batches for name in batch.ids) == [f"thing {n}/flat" for n in range(5)]


def test_only_damaged_images_are_listed_too(tmp_path: Path) -> None:
    write(tmp_path, [row(1, user=1, caption="cat", jpg_0=b"x", jpg_1=b"y")])
    (batch,) = read_images(tmp_path, index_images(read_rows(tmp_path).table), [Square(SIZE)])
    assert (batch.ids, batch.damaged) == ([], ["cat/flat", "cat/round"])
    assert [len(pixels) for pixels in batch.pixels] == [0]


def test_other_sizes_are_cropped_to_the_middle_and_resized() -> None:
    wide = np.zeros((20, 60, 3), np.uint8)
    wide[:, 20:40] = (255, 0, 0)
    file = io.BytesIO()
    Image.fromarray(wide).save(file, "PNG")
    pixels = seen(file.getvalue(), 10)
    assert pixels is not None
    assert pixels.shape == (3, 10, 10)
    np.testing.assert_array_equal(pixels, np.broadcast_to([[[255]], [[0]], [[0]]], (3, 10, 10)))


@pytest.mark.parametrize(
    ("mode", "kind"),
    [("L", "JPEG"), ("CMYK", "JPEG"), ("RGBA", "PNG"), ("LA", "PNG"), ("P", "PNG"), ("I;16", "PNG"), ("1", "TIFF")],
)
def test_other_colour_modes_become_rgb(mode: str, kind: str) -> None:
    file = io.BytesIO()
    Image.new(mode, (8, 8)).save(file, kind)
    pixels = seen(file.getvalue(), 8)
    assert pixels is not None
    assert pixels.shape == (3, 8, 8)
    assert pixels.dtype == np.uint8


@pytest.mark.parametrize("size", [(1, 1), (1, 400), (3000, 2), (3000, 2000)])
def test_images_of_any_size_are_brought_to_the_one_asked_for(size: tuple[int, int]) -> None:
    file = io.BytesIO()
    Image.new("RGB", size, (255, 0, 0)).save(file, "PNG")
    pixels = seen(file.getvalue(), 8)
    assert pixels is not None
    np.testing.assert_array_equal(pixels, np.broadcast_to([[[255]], [[0]], [[0]]], (3, 8, 8)))


def png_that_claims(width: int, height: int) -> bytes:
    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"")) + chunk(b"IEND", b"")


POSTSCRIPT = b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 8 8\n%%EndComments\n(mischief) print\n"


@pytest.mark.parametrize(
    "data", [png_that_claims(10**6, 10**6), png_that_claims(0, 8), POSTSCRIPT], ids=["bomb", "empty", "a program"]
)
def test_malicious_images_are_damaged_ones(data: bytes) -> None:
    assert seen(data, 8) is None


def test_a_damaged_row_group_of_images_is_named(tmp_path: Path) -> None:
    path = write(tmp_path, rows())
    index = index_images(read_rows(tmp_path).table)
    column = pq.ParquetFile(path).metadata.row_group(0).column(SCHEMA.get_field_index("jpg_0"))
    flip_byte(path, (column.dictionary_page_offset or column.data_page_offset) + column.total_compressed_size // 2)
    with pytest.raises(UserError, match="row group 0 is damaged"):
        list(read_images(tmp_path, index, [Square(SIZE)]))


def test_the_fingerprint_follows_ids_bytes_and_size_but_not_the_order() -> None:
    def made(ids: list[str], digests: list[int], size: int = 64) -> str:
        return images_fingerprint(pa.array(ids), np.repeat(np.array(digests, np.uint8)[:, None], 32, axis=1), size)

    first = made(["a", "b"], [1, 2])
    assert made(["b", "a"], [2, 1]) == first
    others = [
        made(["a", "c"], [1, 2]),
        made(["a", "b"], [1, 3]),
        made(["a", "b"], [2, 1]),
        made(["a", "b"], [1, 2], 32),
    ]
    assert len({first, *others}) == 5


def peak_memory(folder: Path, told: Any) -> None:
    """Read all images of a source, and tell how much memory the process has had, in bytes."""
    count = sum(len(batch.ids) for batch in read_images(folder, index_images(read_rows(folder).table), [Square(SIZE)]))
    (line,) = [line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM")]
    told.put((count, int(line.split()[1]) << 10))


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_memory_stays_flat_over_ten_times_the_rows(tmp_path: Path) -> None:
    """Whether the rows are in many row groups or in a large one, whose images take 100 MB."""
    padding = np.random.default_rng(0).bytes(200_000)
    peaks = {}
    for name, groups, rows_each in (("few", 5, 5), ("many", 50, 5), ("large", 1, 250)):
        (tmp_path / name).mkdir()
        with pq.ParquetWriter(
            tmp_path / name / "all.parquet", SCHEMA, use_dictionary=False, write_batch_size=4
        ) as file:
            for group in range(groups):
                made = [row(group * rows_each + n, user=1, caption=f"{group}/{n}") for n in range(rows_each)]
                for one in made:  # what stands behind a JPEG is not looked at
                    one |= {f"jpg_{side}": one[f"jpg_{side}"] + padding for side in (0, 1)}
                file.write_table(pa.Table.from_pylist(made, SCHEMA), row_group_size=rows_each)
        told = PROCESSES.Queue()
        process = PROCESSES.Process(target=peak_memory, args=(tmp_path / name, told))
        process.start()
        count, peaks[name] = told.get(timeout=60)
        process.join(60)
        assert count == 2 * groups * rows_each
    assert peaks["many"] - peaks["few"] < 30e6
    assert peaks["large"] - peaks["few"] < 30e6
