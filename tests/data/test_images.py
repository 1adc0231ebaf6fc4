"""Each image is found and decoded once, whatever rows show it; a damaged one is listed, not fatal."""

from __future__ import annotations

import hashlib
import io
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image
from tests.data.handmade import SIZE, flip_byte, jpeg, row, rows, write

from ppd_lightning.data.images import IMAGES_SCHEMA, decode, images_fingerprint, index_images, read_images
from ppd_lightning.data.pickapic import SCHEMA, read_rows
from ppd_lightning.run.errors import UserError


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
    seen = {}
    for batch in read_images(tmp_path, shuffled, SIZE, batch_size=7):
        assert batch.pixels.shape == (len(batch.ids), 3, SIZE, SIZE)
        assert not batch.damaged
        seen |= dict(zip(batch.ids, zip(batch.digests, batch.pixels, strict=True), strict=True))
    assert seen.keys() == set(index["image_id"].to_pylist())
    for image_id, (digest, pixels) in seen.items():
        data = jpeg(image_id)
        assert digest == hashlib.sha256(data).hexdigest()
        np.testing.assert_array_equal(pixels.transpose(1, 2, 0), np.asarray(Image.open(io.BytesIO(data))))


def test_damaged_images_are_listed_and_the_others_read(tmp_path: Path) -> None:
    good = jpeg("good")
    broken = [b"", None, b"not an image", good[: len(good) // 2], b"\xff\xd8\xff\xe0" + bytes(100)]
    made = [row(n, user=1, caption=f"thing {n}", jpg_1=data) for n, data in enumerate(broken)]
    write(tmp_path, made)
    batches = list(read_images(tmp_path, index_images(read_rows(tmp_path).table), SIZE, batch_size=2))
    assert sorted(name for batch in batches for name in batch.damaged) == [f"thing {n}/round" for n in range(5)]
    assert sorted(name for batch in batches for name in batch.ids) == [f"thing {n}/flat" for n in range(5)]


def test_only_damaged_images_are_listed_too(tmp_path: Path) -> None:
    write(tmp_path, [row(1, user=1, caption="cat", jpg_0=b"x", jpg_1=b"y")])
    (batch,) = read_images(tmp_path, index_images(read_rows(tmp_path).table), SIZE)
    assert (batch.ids, batch.damaged) == ([], ["cat/flat", "cat/round"])
    assert batch.pixels.shape == (0, 3, SIZE, SIZE)


def test_other_sizes_are_cropped_to_the_middle_and_resized() -> None:
    wide = np.zeros((20, 60, 3), np.uint8)
    wide[:, 20:40] = (255, 0, 0)
    file = io.BytesIO()
    Image.fromarray(wide).save(file, "PNG")
    pixels = decode(file.getvalue(), 10)
    assert pixels is not None
    assert pixels.shape == (3, 10, 10)
    np.testing.assert_array_equal(pixels, np.broadcast_to([[[255]], [[0]], [[0]]], (3, 10, 10)))


@pytest.mark.parametrize("mode", ["L", "RGBA", "P", "CMYK"])
def test_other_colour_modes_become_rgb(mode: str) -> None:
    file = io.BytesIO()
    Image.new(mode, (8, 8)).save(file, "TIFF")
    pixels = decode(file.getvalue(), 8)
    assert pixels is not None
    assert pixels.shape == (3, 8, 8)


def test_a_damaged_row_group_of_images_is_named(tmp_path: Path) -> None:
    path = write(tmp_path, rows())
    index = index_images(read_rows(tmp_path).table)
    column = pq.ParquetFile(path).metadata.row_group(0).column(SCHEMA.get_field_index("jpg_0"))
    flip_byte(path, (column.dictionary_page_offset or column.data_page_offset) + column.total_compressed_size // 2)
    with pytest.raises(UserError, match="row group 0 is damaged"):
        list(read_images(tmp_path, index, SIZE))


def test_the_fingerprint_follows_ids_bytes_and_size_but_not_the_order() -> None:
    first = images_fingerprint(["a", "b"], ["1", "2"], 64)
    assert images_fingerprint(["b", "a"], ["2", "1"], 64) == first
    others = [(["a", "c"], ["1", "2"], 64), (["a", "b"], ["1", "3"], 64), (["a", "b"], ["1", "2"], 32)]
    assert len({first, *(images_fingerprint(*other) for other in others)}) == 4
