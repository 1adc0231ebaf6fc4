"""A store gives back what was put in, and is refused when it is missing, damaged or made from something else."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from tests.data.handmade import flip_byte

from ppd_lightning.data.stores import Store, StoreWriter, write_store
from ppd_lightning.run.errors import UserError

KEY = {"codec": "abc", "images": "def", "names": ("a", "b")}
IDS = [f"image-{number}" for number in range(7)]
ARRAYS = {
    "latents": np.random.default_rng(0).standard_normal((7, 3, 2), np.float32).astype(np.float16),
    "shots": np.arange(28).reshape(7, 4),
}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    write_store(tmp_path / "latents", IDS, ARRAYS, KEY)
    return tmp_path / "latents"


def test_rows_come_back_by_id_in_any_order_with_their_types(folder: Path) -> None:
    store = Store.open(folder, KEY)
    rows = store.rows(["image-5", "image-0", "image-5"])
    assert len(store) == 7
    for name, array in ARRAYS.items():
        np.testing.assert_array_equal(rows[name], array[[5, 0, 5]])
        assert rows[name].dtype == array.dtype
    np.testing.assert_array_equal(store.index(pa.array(["image-6", "image-1"])), [6, 1])
    store.verify()


def test_arrays_are_mapped_not_read_and_cannot_be_written(folder: Path) -> None:
    latents = Store.open(folder, KEY).arrays["latents"]
    assert isinstance(latents, np.memmap)
    with pytest.raises(ValueError, match="read-only"):
        latents[0] = 0


def test_batches_and_whole_arrays_make_the_same_store(folder: Path, tmp_path: Path) -> None:
    parts = {name: np.split(array, [3, 6]) for name, array in ARRAYS.items()}
    write_store(tmp_path / "batches", IDS, parts, KEY)
    ours, theirs = Store.open(tmp_path / "batches", KEY).rows(IDS), Store.open(folder, KEY).rows(IDS)
    for name in ARRAYS:
        np.testing.assert_array_equal(ours[name], theirs[name])


def test_many_rows_do_not_outgrow_the_header(tmp_path: Path) -> None:
    with StoreWriter(tmp_path / "many", KEY) as writer:
        writer.add(["first"], {"x": np.zeros((1, 2))})
        writer.add([str(number) for number in range(12345)], {"x": np.ones((12345, 2))})
    assert Store.open(tmp_path / "many", KEY).arrays["x"].shape == (12346, 2)


def test_a_missing_store_names_the_command_that_makes_it(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="this store is missing; run `ppd embed` with the same settings"):
        Store.open(tmp_path / "users", KEY, made_by="ppd embed")


def test_a_stale_store_names_what_differs(folder: Path) -> None:
    with pytest.raises(UserError, match="stale") as caught:
        Store.open(folder, KEY | {"codec": "xyz"})
    assert "codec was 'abc', now 'xyz'" in str(caught.value)
    assert "images" not in str(caught.value)
    with pytest.raises(UserError, match="new was None, now 1"):
        Store.open(folder, KEY | {"new": 1})
    with pytest.raises(UserError, match="images was 'def', now None"):
        Store.open(folder, {"codec": "abc", "names": ("a", "b")})


def test_a_truncated_array_is_refused_on_opening(folder: Path) -> None:
    path = next(folder.glob("latents-*.npy"))
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(UserError, match=re.escape(f"{path}: damaged")):
        Store.open(folder, KEY)
    path.unlink()
    with pytest.raises(UserError, match="found no file"):
        Store.open(folder, KEY)


@pytest.mark.parametrize("pattern", ["latents-*.npy", "shots-*.npy", "ids-*.parquet"])
def test_a_flipped_byte_is_found_by_verify(folder: Path, pattern: str) -> None:
    store = Store.open(folder, KEY)
    path = next(folder.glob(pattern))
    flip_byte(path, path.stat().st_size // 2)
    with pytest.raises(UserError, match=re.escape(f"{path}: damaged (its checksum differs)")):
        store.verify()


@pytest.mark.parametrize("text", ["", "{}", "[]", '{"key": 1, "files": 2}', '{"key": {'])
def test_a_damaged_meta_file_is_one_clear_message(folder: Path, text: str) -> None:
    (folder / "meta.json").write_text(text)
    with pytest.raises(UserError, match=r"meta\.json: damaged"):
        Store.open(folder, KEY)


def test_a_flipped_header_is_one_clear_message(folder: Path) -> None:
    flip_byte(next(folder.glob("latents-*.npy")), 2)
    with pytest.raises(UserError, match="damaged"):
        Store.open(folder, KEY)


def test_an_unknown_id_is_named(folder: Path) -> None:
    with pytest.raises(UserError, match="holds no row for nobody, nothing"):
        Store.open(folder, KEY).rows(["image-1", "nobody", "nothing"])


def cut_off() -> Iterator[np.ndarray]:
    yield np.zeros((1, 2))
    raise RuntimeError("cut off")


def test_an_error_while_writing_leaves_the_old_store_and_no_rest(folder: Path) -> None:
    before = sorted(path.name for path in folder.iterdir())
    with pytest.raises(RuntimeError, match="cut off"):
        write_store(folder, ["a", "b"], {"latents": cut_off()}, {"codec": "new"})
    assert sorted(path.name for path in folder.iterdir()) == before
    np.testing.assert_array_equal(Store.open(folder, KEY).rows(IDS)["latents"], ARRAYS["latents"])


def test_a_new_version_replaces_the_old_one_whose_readers_go_on(folder: Path) -> None:
    old = Store.open(folder, KEY)
    write_store(folder, ["only"], {"latents": np.ones((1, 3))}, {"codec": "new"})
    assert Store.open(folder, {"codec": "new"}).rows(["only"])["latents"].tolist() == [[1, 1, 1]]
    np.testing.assert_array_equal(old.rows(IDS)["latents"], ARRAYS["latents"])
    named = {file["name"] for file in json.loads((folder / "meta.json").read_text())["files"].values()}
    assert {path.name for path in folder.iterdir()} == named | {"meta.json"}


def test_what_cannot_be_stored_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="an id comes twice"):
        write_store(tmp_path / "a", ["x", "x"], {"n": np.zeros(2)}, {})
    with pytest.raises(ValueError, match="objects"):
        write_store(tmp_path / "b", ["x"], {"n": np.array([None])}, {})
    with pytest.raises(ValueError, match="expected rows"):
        write_store(tmp_path / "c", ["x", "y"], {"n": [np.zeros((1, 2)), np.zeros((1, 3))]}, {})
    with pytest.raises(ValueError, match="2 rows for 1 ids"), StoreWriter(tmp_path / "d") as writer:
        writer.add(["x"], {"n": np.zeros((2, 2))})
    with pytest.raises(ValueError, match="nothing to store"), StoreWriter(tmp_path / "e"):
        pass
    for name in "abcde":
        assert list((tmp_path / name).iterdir()) == []
